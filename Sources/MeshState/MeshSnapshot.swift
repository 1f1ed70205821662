import HashTreeCollections
public import IPAddressing

/// The mesh at one moment: immutable, cheap to copy, safe to read from any thread.
///
/// A new version shares all that did not change with the one before it (hash tries), so applying one pod's change costs
/// the same in a mesh of ten pods and of a hundred thousand, and readers keep the version they took.
public struct MeshSnapshot: Sendable {
    /// Counts the updates applied since the empty mesh.
    public private(set) var version: UInt64 = 0
    /// What pods and services have their addresses from, as far as that is known.
    public private(set) var ranges = AddressRanges()

    private var workloads: TreeDictionary<String, Workload> = [:]
    private var services: TreeDictionary<ServiceName, Service> = [:]
    /// The uids that claim an address, the longest claim first.
    private var claims: TreeDictionary<IPAddress, [String]> = [:]
    /// The services that claim a virtual address.
    private var virtualAddresses: TreeDictionary<IPAddress, [ServiceName]> = [:]
    /// Healthy endpoints by service. It follows from the workloads alone: an endpoint may come before its service.
    private var endpoints: TreeDictionary<ServiceName, [Endpoint]> = [:]
    private var uidsByName: TreeDictionary<PodName, [String]> = [:]

    private struct PodName: Hashable {
        let namespace: String
        let name: String
    }

    public init() {}

    public var workloadCount: Int { workloads.count }
    public var serviceCount: Int { services.count }
    /// In no particular order.
    public var allWorkloads: some Sequence<Workload> { workloads.values }
    /// In no particular order.
    public var allServices: some Sequence<Service> { services.values }
}

// MARK: - Lookups

extension MeshSnapshot {
    public func workload(uid: String) -> Workload? { workloads[uid] }

    public func service(_ name: ServiceName) -> Service? { services[name] }

    /// The workload that an address leads to.
    ///
    /// Two may claim one address while a pod is replaced. An HBONE one wins, so that doubt never means plaintext; then
    /// a healthy one; then the one that claimed it last.
    public func workload(at address: IPAddress) -> Workload? {
        guard let uids = claims[address] else { return nil }
        var best: Workload?
        for case let candidate? in uids.map({ workloads[$0] }) {
            if let current = best, rank(current) > rank(candidate) { continue }
            best = candidate
        }
        return best
    }

    private func rank(_ workload: Workload) -> Int {
        (workload.tunnelProtocol == .hbone ? 2 : 0) + (workload.status == .healthy ? 1 : 0)
    }

    /// The workload of a pod that is known by its names only, as ZDS names it. An empty `node` matches every node.
    public func workload(name: String, namespace: String, serviceAccount: String, node: String) -> Workload? {
        let candidates = (uidsByName[PodName(namespace: namespace, name: name)] ?? []).compactMap { workloads[$0] }
        return candidates.last {
            $0.serviceAccount == serviceAccount && (node.isEmpty || $0.node == node)
        }
    }

    /// The service at a virtual address; among several, that of the asking namespace, then the one that was there first.
    public func service(at address: IPAddress, from namespace: String = "") -> Service? {
        guard let names = virtualAddresses[address] else { return nil }
        let name = names.first { $0.namespace == namespace } ?? names.first
        return name.flatMap { services[$0] }
    }

    /// The healthy endpoints of a service, whether or not the service itself is known.
    func endpoints(of name: ServiceName) -> [Endpoint] { endpoints[name] ?? [] }
}

// MARK: - Updates

extension MeshSnapshot {
    /// The next version. Removals of unknown names are ignored; the last of several upserts of one key counts.
    public func applying(_ update: MeshUpdate) -> MeshSnapshot {
        var next = self
        next.version += 1
        if let ranges = update.ranges { next.ranges = AddressRanges(ranges) }
        for name in update.removed {
            if let old = next.workloads[name] { next.replace(old, with: nil) }
            if let key = ServiceName(name), let old = next.services[key] { next.replace(old, with: nil) }
        }
        for service in update.upsertedServices {
            next.replace(next.services[service.name], with: service)
        }
        for workload in update.upsertedWorkloads {
            next.replace(next.workloads[workload.uid], with: workload)
        }
        return next
    }

    private mutating func replace(_ old: Service?, with new: Service?) {
        guard old != new, let name = new?.name ?? old?.name else { return }
        services[name] = new
        MeshSnapshot.reindex(&virtualAddresses, name, from: old?.addresses ?? [], to: new?.addresses ?? [])
    }

    private mutating func replace(_ old: Workload?, with new: Workload?) {
        guard old != new, let uid = new?.uid ?? old?.uid else { return }
        workloads[uid] = new
        MeshSnapshot.reindex(&claims, uid, from: claimed(by: old), to: claimed(by: new))
        MeshSnapshot.reindex(&uidsByName, uid, from: podNames(of: old), to: podNames(of: new))
        for name in old.map(served) ?? [] {
            let left = endpoints(of: name).filter { $0.uid != uid }
            endpoints[name] = left.isEmpty ? nil : left
        }
        if let new {
            for name in served(by: new) {
                endpoints[name, default: []].append(Endpoint(of: new, ports: new.services[name] ?? [:]))
            }
        }
    }

    private func claimed(by workload: Workload?) -> [IPAddress] {
        // A host-network pod's addresses are its node's: traffic to them is not for the pod.
        guard let workload, !workload.usesHostNetwork else { return [] }
        return workload.addresses
    }

    private func podNames(of workload: Workload?) -> [PodName] {
        workload.map { [PodName(namespace: $0.namespace, name: $0.name)] } ?? []
    }

    private func served(by workload: Workload) -> [ServiceName] {
        workload.status == .healthy ? Array(workload.services.keys) : []
    }

    /// Moves a value's entries in an index from its old keys to its new ones; where it stays, it keeps its place.
    private static func reindex<Key: Hashable, Value: Equatable>(
        _ index: inout TreeDictionary<Key, [Value]>, _ value: Value, from old: [Key], to new: [Key]
    ) {
        for key in old where !new.contains(key) {
            let left = (index[key] ?? []).filter { $0 != value }
            index[key] = left.isEmpty ? nil : left
        }
        for key in new where index[key]?.contains(value) != true {
            index[key, default: []].append(value)
        }
    }
}
