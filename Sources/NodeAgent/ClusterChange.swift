public import IPAddressing

/// What has changed in the cluster as far as one node's agent is concerned. Its size is that of the change, not of the cluster.
///
/// The first one that a source delivers is the difference to nothing: the whole state.
public struct ClusterChange: Hashable, Sendable {
    /// The pods of this node that are to be enrolled, all of them; nil when none of them has changed.
    public var pods: [ClusterState.Pod]?
    /// For the proxy.
    public var mesh = MeshChange()
    /// Where plaintext must not go from an enrolled pod, nor come from: whether an address is such a one now.
    public var guarded: [IPAddress: Bool] = [:]
    /// Pods left out of the mesh, by uid, because their namespace and service account make no SPIFFE ID; with the reason.
    public var omitted: [String: String] = [:]
    /// What somebody wrote into an object and was not understood, by the object's kind and name.
    public var warnings: [String: String] = [:]
    /// When the oldest of the events that it comes from was learnt; nil for now.
    public var since: ContinuousClock.Instant?

    public init() {}

    public var isEmpty: Bool { pods == nil && mesh.isEmpty && guarded.isEmpty && omitted.isEmpty && warnings.isEmpty }

    public mutating func merge(_ later: ClusterChange) {
        pods = later.pods ?? pods
        mesh.merge(later.mesh)
        guarded.merge(later.guarded) { _, later in later }
        omitted.merge(later.omitted) { _, later in later }
        warnings.merge(later.warnings) { _, later in later }
        since = since ?? later.since
    }
}

/// Finds what has changed between whole states, for sources that know no less.
public struct ClusterDifference: Sendable {
    private let node: String
    private var state: ClusterState?
    private var mesh: PublishedMesh?

    /// Of the agent on this node.
    public init(node: String) {
        self.node = node
    }

    /// From the state that was given last, or from nothing.
    public mutating func change(to next: ClusterState) -> ClusterChange {
        var change = ClusterChange()
        let pods = next.enrolledPods(of: node)
        if state == nil || pods != state?.enrolledPods(of: node) { change.pods = pods }

        let published = PublishedMesh(next)
        Self.compare(mesh?.workloads ?? [], published.workloads, by: \.uid, into: &change.mesh.workloads)
        Self.compare(mesh?.services ?? [], published.services, by: \.name, into: &change.mesh.services)
        if next.ranges != state?.ranges ?? [] { change.mesh.ranges = next.ranges }

        let (before, now) = (state?.guardedAddresses ?? [], next.guardedAddresses)
        for address in before.subtracting(now) { change.guarded[address] = false }
        for address in now.subtracting(before) { change.guarded[address] = true }
        change.omitted = published.omitted.filter { mesh?.omitted[$0.key] != $0.value }
        (state, mesh) = (next, published)
        return change
    }

    private static func compare<Key: Hashable, Value: Equatable>(
        _ before: [Value], _ now: [Value], by key: (Value) -> Key, into change: inout [Key: Value?]
    ) {
        var gone = Dictionary(before.map { (key($0), $0) }) { _, last in last }
        // Two of one key: the last one counts, as it does with proxies.
        for (name, value) in Dictionary(now.map({ (key($0), $0) }), uniquingKeysWith: { _, last in last })
        where gone.removeValue(forKey: name) != value {
            change[name] = .some(value)
        }
        for name in gone.keys { change[name] = .some(nil) }
    }
}
