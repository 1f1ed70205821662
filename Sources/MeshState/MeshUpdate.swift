/// What changed in the mesh: removals come first, then services and workloads replace those of the same key.
public struct MeshUpdate: Hashable, Sendable {
    public var upsertedWorkloads: [Workload]
    public var upsertedServices: [Service]
    /// A workload's uid, or `namespace/hostname` of a service.
    public var removed: [String]

    public init(upsertedWorkloads: [Workload] = [], upsertedServices: [Service] = [], removed: [String] = []) {
        self.upsertedWorkloads = upsertedWorkloads
        self.upsertedServices = upsertedServices
        self.removed = removed
    }

    public var isEmpty: Bool { upsertedWorkloads.isEmpty && upsertedServices.isEmpty && removed.isEmpty }
}
