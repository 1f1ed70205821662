/// Where the agent learns of pods, namespaces and services: a mesh file, or the Kubernetes API.
public protocol PodSource: Sendable {
    /// Calls `deliver` with the whole state, first as soon as it is known and complete, then after every change; returns
    /// when its task is cancelled.
    ///
    /// An incomplete state is never delivered: pods missing from it would lose their enrolment.
    func follow(_ deliver: @Sendable (ClusterState) async -> Void) async throws
}
