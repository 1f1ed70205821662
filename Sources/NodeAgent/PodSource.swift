/// Where the agent learns of pods, namespaces and services: a mesh file, or the Kubernetes API.
public protocol PodSource: Sendable {
    /// Calls `deliver` with what the agent of `node` is to know, first as soon as it is known and complete, then with every change;
    /// returns when its task is cancelled.
    ///
    /// The first change is never incomplete, and never anything but the whole: pods missing from it would lose their enrolment.
    func follow(node: String, _ deliver: @Sendable (ClusterChange) async -> Void) async throws
    /// What is known now of a pod of this node that a container runtime is about to start.
    func admission(of pod: PodReference) -> PodAdmission
    /// Whose pods are to be enrolled; nil as long as that is not known.
    var enrolledNamespaces: Set<String>? { get }
}

extension PodSource {
    /// Of a source that no container runtime has to do with: its pods wait to be delivered.
    public func admission(of pod: PodReference) -> PodAdmission { .unknown }
    public var enrolledNamespaces: Set<String>? { nil }
}
