/// Where the agent learns of pods, namespaces and services: a mesh file, or the Kubernetes API.
public protocol PodSource: Sendable {
    /// Calls `deliver` with what the agent of `node` is to know, first as soon as it is known and complete, then with every change;
    /// returns when its task is cancelled.
    ///
    /// The first change is never incomplete, and never anything but the whole: pods missing from it would lose their enrolment.
    func follow(node: String, _ deliver: @Sendable (ClusterChange) async -> Void) async throws
}
