import CNI
import IPAddressing
import KubernetesAPI
import MeshState
import Redirection
import SPIFFE

// What the events since the last time have come to.

extension KubernetesCluster {
    /// Nobody has to be told anything.
    public var isUnchanged: Bool {
        duePods.isEmpty && dueServices.isEmpty && dueSlices.isEmpty && !areRangesDue && !areLocalPodsDue
            && change.isEmpty
    }

    /// What has changed since the last time; the first time, everything. To be called once all kinds are known.
    public mutating func takeChange() -> ClusterChange {
        for key in take(&dueSlices) { publishStrangers(of: key) }
        for key in take(&duePods) { publish(pod: key) }
        for key in take(&dueServices) { publish(service: key) }
        if areRangesDue { publishRanges() }
        if areLocalPodsDue { change.pods = localPods.values.sorted { $0.uid < $1.uid } }
        (areRangesDue, areLocalPodsDue) = (false, false)
        defer { change = ClusterChange() }
        return change
    }

    private func take(_ keys: inout Set<ObjectKey>) -> Set<ObjectKey> {
        defer { keys = [] }
        return keys
    }

    private mutating func publishRanges() {
        let ranges = nodeRanges.values.reduce(into: configuration.ranges.union(serviceRanges.prefixes)) {
            $0.formUnion($1)
        }
        guard ranges != publishedRanges else { return }
        publishedRanges = ranges
        change.mesh.ranges = ranges
    }
}

// MARK: - Pods

extension KubernetesCluster {
    private mutating func publish(pod key: ObjectKey) {
        let before = publishedPods[key]
        let (workload, isEnrolled, uid) = publication(of: key)
        if let before, before.uid != uid || workload == nil { change.mesh.workloads[before.uid] = .some(nil) }
        if let workload { change.mesh.workloads[workload.uid] = workload }
        let guarded = isEnrolled ? workload?.addresses ?? [] : []
        guardAddresses(guarded, insteadOf: before?.guarded ?? [])
        publishedPods[key] = workload.map { PublishedPod(uid: $0.uid, isEnrolled: isEnrolled, guarded: guarded) }
        // Whether a virtual address leads to enrolled pods.
        if before?.isEnrolled ?? false != isEnrolled && publishedPods[key] != nil
            || (before == nil) != (workload == nil)
        {
            markServices(of: key)
        }
    }

    /// nil for a pod that the mesh does not need to know.
    private mutating func publication(of key: ObjectKey) -> (workload: Workload?, isEnrolled: Bool, uid: String?) {
        guard let namespace = namespaces[key.namespace], namespace.isEnrolled,
            let facts = pods[key.namespace]?[key.name]
        else {
            enrol(nil, at: key)
            return (nil, false, nil)
        }
        guard PodUID.isUsable(facts.uid) else {
            change.omitted[facts.uid] = "its UID is not one"
            enrol(nil, at: key)
            return (nil, false, nil)
        }
        let isEnrolled = facts.exclusion == nil
        enrol(isEnrolled && facts.node == configuration.node ? localPod(key, facts, namespace) : nil, at: key)
        let addresses = facts.usesHostNetwork ? facts.addresses : facts.addresses.filter { owner(of: $0) == key }
        guard !addresses.isEmpty else { return (nil, false, facts.uid) }
        do {
            let workload = try Workload(
                uid: facts.uid, name: key.name, namespace: key.namespace, serviceAccount: facts.serviceAccount,
                trustDomain: configuration.trustDomain, node: facts.node, addresses: addresses,
                tunnelProtocol: isEnrolled ? .hbone : .none, refusesPlaintext: isEnrolled && namespace.isStrict,
                usesHostNetwork: facts.usesHostNetwork, services: services(of: key), workloadName: facts.controller)
            return (workload, isEnrolled, facts.uid)
        } catch {
            change.omitted[facts.uid] = error.description
            return (nil, false, facts.uid)
        }
    }

    private func localPod(_ key: ObjectKey, _ facts: PodFacts, _ namespace: NamespaceFacts) -> ClusterState.Pod {
        ClusterState.Pod(
            uid: facts.uid, name: key.name, namespace: key.namespace, serviceAccount: facts.serviceAccount,
            node: facts.node, addresses: facts.addresses, netns: nil, isEnterable: true,
            exclusions: facts.exclusions.union(namespace.exclusions), isStrict: namespace.isStrict)
    }

    private mutating func enrol(_ pod: ClusterState.Pod?, at key: ObjectKey) {
        guard localPods[key] != pod else { return }
        localPods[key] = pod
        areLocalPodsDue = true
    }

    /// The pod that has an address. It may be given to a new one before the API knows that the former one has ended.
    private func owner(of address: IPAddress) -> ObjectKey? {
        var best: (key: ObjectKey, facts: PodFacts)?
        for key in claims[address] ?? [] {
            guard let facts = pods[key.namespace]?[key.name] else { continue }
            if let best, !facts.supersedes(best.facts) { continue }
            best = (key, facts)
        }
        return best?.key
    }

    private mutating func guardAddresses(_ now: [IPAddress], insteadOf before: [IPAddress]) {
        guard now != before else { return }
        for address in before {
            let count = (guardedCounts[address] ?? 0) - 1
            guardedCounts[address] = count > 0 ? count : nil
            if count == 0 { change.guarded[address] = false }
        }
        for address in now {
            let count = (guardedCounts[address] ?? 0) + 1
            guardedCounts[address] = count
            if count == 1 { change.guarded[address] = true }
        }
    }
}

// MARK: - Services and their endpoints

extension KubernetesCluster {
    private func service(_ slice: ObjectKey, _ facts: SliceFacts) -> ServiceFacts? {
        guard namespaces[slice.namespace]?.isEnrolled == true else { return nil }
        return services[slice.namespace]?[facts.service]
    }

    /// The slices' endpoints that are this pod.
    private func memberships(of key: ObjectKey) -> [(
        slice: ObjectKey, facts: SliceFacts, endpoint: SliceFacts.Endpoint
    )] {
        let pod = pods[key.namespace]?[key.name]
        var found: [(slice: ObjectKey, facts: SliceFacts, endpoint: SliceFacts.Endpoint)] = []
        for name in slicesOfPod[key] ?? [] {
            guard let facts = slices[key.namespace]?[name] else { continue }
            // One of the same name may be meant that is no more.
            for endpoint in facts.endpoints
            where endpoint.pod == key.name && (pod == nil || endpoint.uid.isEmpty || endpoint.uid == pod?.uid) {
                found.append((ObjectKey(namespace: key.namespace, name: name), facts, endpoint))
            }
        }
        for address in pod.map({ $0.usesHostNetwork ? [] : $0.addresses }) ?? [] where owner(of: address) == key {
            for slice in slicesOfAddress[address] ?? [] {
                guard let facts = slices[slice.namespace]?[slice.name] else { continue }
                for endpoint in facts.endpoints where endpoint.pod == nil && endpoint.address == address {
                    found.append((slice, facts, endpoint))
                }
            }
        }
        return found
    }

    private func services(of key: ObjectKey) -> [ServiceName: [UInt16: UInt16]] {
        var services: [ServiceName: [UInt16: UInt16]] = [:]
        for (slice, facts, endpoint) in memberships(of: key) {
            guard let service = service(slice, facts), isUsed(endpoint, of: slice, facts),
                let targets = facts.targets(of: service)
            else { continue }
            services[service.name, default: [:]].merge(targets) { first, _ in first }
        }
        return services
    }

    /// Those that end are used while there are no others, as kube-proxy does.
    private func isUsed(_ endpoint: SliceFacts.Endpoint, of slice: ObjectKey, _ facts: SliceFacts) -> Bool {
        switch endpoint.condition {
        case .ready: true
        case .draining: readyEndpoints[ObjectKey(namespace: slice.namespace, name: facts.service)] == nil
        case .unfit: false
        }
    }

    private mutating func publish(service key: ObjectKey) {
        let facts = namespaces[key.namespace]?.isEnrolled == true ? services[key.namespace]?[key.name] : nil
        let name = ServiceName(key, clusterDomain: configuration.clusterDomain)
        if let facts {
            change.mesh.services[name] = MeshState.Service(
                name: facts.name, shortName: key.name, addresses: facts.addresses, ports: facts.targets)
        } else if publishedServices[key] != nil {
            change.mesh.services[name] = .some(nil)
        }
        let guarded = facts.map { hasEnrolledEndpoint(key) ? $0.addresses : [] }
        guardAddresses(guarded ?? [], insteadOf: publishedServices[key] ?? [])
        publishedServices[key] = guarded
    }

    private func hasEnrolledEndpoint(_ service: ObjectKey) -> Bool {
        (slicesOfService[service] ?? []).contains { name in
            (slices[service.namespace]?[name]?.endpoints ?? []).contains { endpoint in
                let pod =
                    endpoint.pod.map { ObjectKey(namespace: service.namespace, name: $0) }
                    ?? owner(of: endpoint.address)
                return pod.flatMap { publishedPods[$0] }?.isEnrolled ?? false
            }
        }
    }

    /// Endpoints that are no pods of the mesh: addresses outside the cluster, or of pods in other namespaces. In plain TCP, known to
    /// their services only: whoever made the slice has no say about the address itself.
    private mutating func publishStrangers(of key: ObjectKey) {
        var uids: Set<String> = []
        if let facts = slices[key.namespace]?[key.name], let service = service(key, facts),
            let targets = facts.targets(of: service)
        {
            for endpoint in facts.endpoints where endpoint.pod == nil && isUsed(endpoint, of: key, facts) {
                if let owner = owner(of: endpoint.address), namespaces[owner.namespace]?.isEnrolled == true { continue }
                let uid = "discovery.k8s.io/EndpointSlice/\(key.namespace)/\(key.name)/\(endpoint.address)"
                let workload = try? Workload(
                    uid: uid, name: endpoint.address.description, namespace: key.namespace, serviceAccount: "default",
                    trustDomain: configuration.trustDomain, addresses: [endpoint.address], usesHostNetwork: true,
                    services: [service.name: targets])
                guard let workload else { continue }
                uids.insert(uid)
                change.mesh.workloads[uid] = workload
            }
        }
        for uid in (publishedStrangers[key] ?? []).subtracting(uids) { change.mesh.workloads[uid] = .some(nil) }
        publishedStrangers[key] = uids.isEmpty ? nil : uids
    }
}
