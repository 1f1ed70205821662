public import IPAddressing
public import MeshState

/// What has changed in the published mesh: the newest state of every workload and service that is not as it was; nil for one that is gone.
///
/// Later changes replace earlier ones of the same key, so that changes that nobody has taken yet never exceed the mesh itself and what
/// was removed from it.
public struct MeshChange: Hashable, Sendable {
    public var workloads: [String: Workload?] = [:]
    public var services: [ServiceName: Service?] = [:]
    /// All that the cluster gives pods and services their addresses from; nil when that is as before.
    public var ranges: Set<IPPrefix>?

    public init() {}

    public var isEmpty: Bool { workloads.isEmpty && services.isEmpty && ranges == nil }

    public mutating func merge(_ later: MeshChange) {
        workloads.merge(later.workloads) { _, later in later }
        services.merge(later.services) { _, later in later }
        ranges = later.ranges ?? ranges
    }
}
