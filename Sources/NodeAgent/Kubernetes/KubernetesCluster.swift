public import IPAddressing
public import KubernetesAPI
public import SPIFFE

/// A Kubernetes cluster as one node's agent sees it: takes the API's objects as they come, and says what changed for the node's pods,
/// the guard and the proxy. A value without I/O.
///
/// What an event costs depends on what it changes, not on how large the cluster is. Of the mesh the proxies are told what an enrolled
/// pod needs: all pods of enrolled namespaces, and the services of these with all their endpoints. Everything else stays what it is
/// without Culvert; an address of the cluster that the proxy does not know is asked for.
///
/// Of all other pods and slices a few facts are kept, some 700 bytes for a pod with its endpoint: nobody would tell them again when
/// their namespace is enrolled.
public struct KubernetesCluster: Sendable {
    public struct Configuration: Sendable {
        public let node: String
        public let trustDomain: TrustDomain
        public let enrolment: EnrolmentRule
        /// The end of every service's name.
        public var clusterDomain = "cluster.local"
        /// Besides those that nodes and services show: what pods and services have their addresses from.
        public var ranges: Set<IPPrefix> = []

        public init(node: String, trustDomain: TrustDomain, enrolment: EnrolmentRule) {
            self.node = node
            self.trustDomain = trustDomain
            self.enrolment = enrolment
        }
    }

    let configuration: Configuration

    // What there is, by namespace and name.
    var namespaces: [String: NamespaceFacts] = [:]
    var pods: [String: [String: PodFacts]] = [:]
    var services: [String: [String: ServiceFacts]] = [:]
    var slices: [String: [String: SliceFacts]] = [:]
    var nodeRanges: [String: Set<IPPrefix>] = [:]
    var serviceRanges = AddressSpan()

    // Who refers to whom.
    /// The pods that claim an address; those of the host network do not.
    var claims: [IPAddress: [ObjectKey]] = [:]
    var slicesOfService: [ObjectKey: Set<String>] = [:]
    var slicesOfPod: [ObjectKey: Set<String>] = [:]
    /// Of endpoints that name no pod.
    var slicesOfAddress: [IPAddress: Set<ObjectKey>] = [:]
    var readyEndpoints: [ObjectKey: Int] = [:]

    // What was told.
    var publishedPods: [ObjectKey: PublishedPod] = [:]
    /// The virtual addresses that the guard was told, by service.
    var publishedServices: [ObjectKey: [IPAddress]] = [:]
    /// Endpoints that are no pods, by slice.
    var publishedStrangers: [ObjectKey: Set<String>] = [:]
    var guardedCounts: [IPAddress: Int] = [:]
    var localPods: [ObjectKey: ClusterState.Pod] = [:]
    var publishedRanges: Set<IPPrefix> = []

    // What is to be looked at again, and told.
    var duePods: Set<ObjectKey> = []
    var dueServices: Set<ObjectKey> = []
    var dueSlices: Set<ObjectKey> = []
    var areRangesDue = true
    var areLocalPodsDue = true
    var change = ClusterChange()

    public init(_ configuration: Configuration) {
        self.configuration = configuration
    }

    struct PublishedPod: Sendable {
        let uid: String
        let isEnrolled: Bool
        let guarded: [IPAddress]
    }
}

// MARK: - Events

extension KubernetesCluster {
    public mutating func update(_ namespace: Namespace) {
        var facts = NamespaceFacts()
        let enrolment = configuration.enrolment.enrolment(of: namespace)
        facts.isEnrolled = enrolment == .enrolled
        if let problem = enrolment.problem(label: configuration.enrolment.label) {
            warn("namespace \(namespace.name)", problem)
        }
        facts.isStrict =
            ClusterAnnotation.mode(of: namespace) { warn("namespace \(namespace.name)", $0) } == .strict
        facts.exclusions = ClusterAnnotation.exclusions(namespace.metadata.annotations) {
            warn("namespace \(namespace.name)", $0)
        }
        set(facts, ofNamespace: namespace.name)
    }

    public mutating func removeNamespace(_ name: String) { set(nil, ofNamespace: name) }

    /// A pod of the same name and another UID replaces the former one.
    public mutating func update(_ pod: Pod) {
        let facts = PodFacts(pod, configuration.enrolment) { warn("pod \(pod.key)", $0) }
        set(facts, ofPod: pod.key)
    }

    public mutating func removePod(_ key: ObjectKey) { set(nil, ofPod: key) }

    public mutating func update(_ service: Service) {
        set(ServiceFacts(service, clusterDomain: configuration.clusterDomain), ofService: service.key)
    }

    public mutating func removeService(_ key: ObjectKey) { set(nil, ofService: key) }

    public mutating func update(_ slice: EndpointSlice) { set(SliceFacts(slice), ofSlice: slice.key) }

    public mutating func removeEndpointSlice(_ key: ObjectKey) { set(nil, ofSlice: key) }

    public mutating func update(_ node: Node) {
        let ranges = Set(node.podCIDRs.compactMap { IPPrefix($0) })
        guard nodeRanges[node.name] ?? [] != ranges else { return }
        nodeRanges[node.name] = ranges.isEmpty ? nil : ranges
        areRangesDue = true
    }

    public mutating func removeNode(_ name: String) {
        if nodeRanges.removeValue(forKey: name) != nil { areRangesDue = true }
    }

    mutating func warn(_ what: String, _ problem: String) { change.warnings[what] = problem }
}

// MARK: - What an event concerns

extension KubernetesCluster {
    mutating func set(_ facts: NamespaceFacts?, ofNamespace name: String) {
        let before = namespaces[name] ?? NamespaceFacts()
        namespaces[name] = facts
        guard before != facts ?? NamespaceFacts() else { return }
        for (pod, facts) in pods[name] ?? [:] {
            duePods.insert(ObjectKey(namespace: name, name: pod))
            for address in facts.addresses { dueSlices.formUnion(slicesOfAddress[address] ?? []) }
        }
        for service in services[name]?.keys ?? [:].keys {
            dueServices.insert(ObjectKey(namespace: name, name: service))
        }
        for slice in slices[name]?.keys ?? [:].keys { dueSlices.insert(ObjectKey(namespace: name, name: slice)) }
    }

    mutating func set(_ facts: PodFacts?, ofPod key: ObjectKey) {
        let before = pods[key.namespace]?[key.name]
        guard before != facts else { return }
        Self.set(facts, key, &pods)
        duePods.insert(key)
        let (old, new) = (claimed(by: before), claimed(by: facts))
        for address in old where !new.contains(address) {
            let left = (claims[address] ?? []).filter { $0 != key }
            claims[address] = left.isEmpty ? nil : left
        }
        for address in new where !old.contains(address) { claims[address, default: []].append(key) }
        // Whose an address is may have changed, also for the others that claim it.
        for address in Set(old + new) {
            duePods.formUnion(claims[address] ?? [])
            dueSlices.formUnion(slicesOfAddress[address] ?? [])
            markServices(at: address)
        }
    }

    /// Whose endpoint it may be.
    mutating func markServices(of pod: ObjectKey) {
        for slice in slicesOfPod[pod] ?? [] { markService(of: ObjectKey(namespace: pod.namespace, name: slice)) }
        for address in claimed(by: pods[pod.namespace]?[pod.name]) { markServices(at: address) }
    }

    private mutating func markServices(at address: IPAddress) {
        for slice in slicesOfAddress[address] ?? [] { markService(of: slice) }
    }

    private mutating func markService(of slice: ObjectKey) {
        guard let service = slices[slice.namespace]?[slice.name]?.service else { return }
        dueServices.insert(ObjectKey(namespace: slice.namespace, name: service))
    }

    private static func set<Facts>(
        _ facts: Facts?, _ key: ObjectKey, _ objects: inout [String: [String: Facts]]
    ) {
        objects[key.namespace, default: [:]][key.name] = facts
        if objects[key.namespace]?.isEmpty == true { objects[key.namespace] = nil }
    }

    private func claimed(by facts: PodFacts?) -> [IPAddress] {
        facts.map { $0.usesHostNetwork ? [] : $0.addresses } ?? []
    }

    mutating func set(_ facts: ServiceFacts?, ofService key: ObjectKey) {
        let before = services[key.namespace]?[key.name]
        guard before != facts else { return }
        Self.set(facts, key, &services)
        dueServices.insert(key)
        if serviceRanges.add(facts?.addresses ?? []) { areRangesDue = true }
        // Its endpoints say which of their ports are other than the common ones.
        guard before?.ports != facts?.ports || before?.targets != facts?.targets else { return }
        markEndpoints(ofService: key)
    }

    mutating func set(_ facts: SliceFacts?, ofSlice key: ObjectKey) {
        let before = slices[key.namespace]?[key.name]
        guard before != facts else { return }
        Self.set(facts, key, &slices)
        let (old, new) = (before?.endpoints ?? [], facts?.endpoints ?? [])
        let isOtherwise = before?.service != facts?.service || before?.ports != facts?.ports
        for endpoint in isOtherwise ? Set(old).union(new) : Set(old).symmetricDifference(new) {
            mark(endpoint, of: key)
        }
        index(old, from: key, to: new)
        move(key, from: before?.service, to: facts?.service)
        count(before, -1, key.namespace)
        count(facts, 1, key.namespace)
    }

    private mutating func count(_ slice: SliceFacts?, _ sign: Int, _ namespace: String) {
        guard let slice else { return }
        let service = ObjectKey(namespace: namespace, name: slice.service)
        dueServices.insert(service)
        let before = readyEndpoints[service] ?? 0
        let now = before + sign * slice.readyCount
        readyEndpoints[service] = now == 0 ? nil : now
        // With the first ready endpoint those that end are not used any more, and with the last one gone they are.
        if (before == 0) != (now == 0) { markDraining(ofService: service) }
    }

    private mutating func move(_ slice: ObjectKey, from old: String?, to new: String?) {
        guard old != new else { return }
        if let old {
            let service = ObjectKey(namespace: slice.namespace, name: old)
            Self.remove(slice.name, at: service, from: &slicesOfService)
        }
        if let new { slicesOfService[ObjectKey(namespace: slice.namespace, name: new), default: []].insert(slice.name) }
    }

    private mutating func index(_ old: [SliceFacts.Endpoint], from slice: ObjectKey, to new: [SliceFacts.Endpoint]) {
        for pod in Set(old.compactMap(\.pod)).subtracting(new.compactMap(\.pod)) {
            let key = ObjectKey(namespace: slice.namespace, name: pod)
            Self.remove(slice.name, at: key, from: &slicesOfPod)
        }
        for pod in Set(new.compactMap(\.pod)).subtracting(old.compactMap(\.pod)) {
            slicesOfPod[ObjectKey(namespace: slice.namespace, name: pod), default: []].insert(slice.name)
        }
        let (before, now) = (Self.strangers(old), Self.strangers(new))
        for address in before.subtracting(now) {
            Self.remove(slice, at: address, from: &slicesOfAddress)
        }
        for address in now.subtracting(before) { slicesOfAddress[address, default: []].insert(slice) }
    }

    private static func remove<Key: Hashable, Value: Hashable>(
        _ value: Value, at key: Key, from index: inout [Key: Set<Value>]
    ) {
        index[key]?.remove(value)
        if index[key]?.isEmpty == true { index[key] = nil }
    }

    private static func strangers(_ endpoints: [SliceFacts.Endpoint]) -> Set<IPAddress> {
        Set(endpoints.filter { $0.pod == nil }.map(\.address))
    }

    private mutating func mark(_ endpoint: SliceFacts.Endpoint, of slice: ObjectKey) {
        if let pod = endpoint.pod {
            duePods.insert(ObjectKey(namespace: slice.namespace, name: pod))
        } else {
            dueSlices.insert(slice)
            duePods.formUnion(claims[endpoint.address] ?? [])
        }
    }

    private mutating func markEndpoints(
        ofService key: ObjectKey, where isConcerned: (SliceFacts.Endpoint) -> Bool = { _ in true }
    ) {
        for name in slicesOfService[key] ?? [] {
            let slice = ObjectKey(namespace: key.namespace, name: name)
            for endpoint in slices[key.namespace]?[name]?.endpoints ?? [] where isConcerned(endpoint) {
                mark(endpoint, of: slice)
            }
        }
    }

    private mutating func markDraining(ofService key: ObjectKey) {
        markEndpoints(ofService: key) { $0.condition == .draining }
    }
}
