public import IPAddressing

/// What changed in the mesh: removals come first, then services and workloads replace those of the same key.
public struct MeshUpdate: Hashable, Sendable {
    public var upsertedWorkloads: [Workload]
    public var upsertedServices: [Service]
    /// A workload's uid, or `namespace/hostname` of a service.
    public var removed: [String]
    /// All that pods and services have their addresses from; nil when that is as before.
    public var ranges: Set<IPPrefix>?

    public init(
        upsertedWorkloads: [Workload] = [], upsertedServices: [Service] = [], removed: [String] = [],
        ranges: Set<IPPrefix>? = nil
    ) {
        self.upsertedWorkloads = upsertedWorkloads
        self.upsertedServices = upsertedServices
        self.removed = removed
        self.ranges = ranges
    }

    public var isEmpty: Bool {
        upsertedWorkloads.isEmpty && upsertedServices.isEmpty && removed.isEmpty && ranges == nil
    }
}
