/// Which pods exist and where: the ground on which identities are decided. Answers from memory, at once.
public protocol PodRegistry: Sendable {
    func pod(uid: String) -> RegisteredPod?
    /// A live pod of the node that runs under the service account, an enrolled one if there is any; nil if there is none.
    func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod?
}

/// A pod as the cluster (or the mesh file) describes it.
public struct RegisteredPod: Sendable, Equatable {
    public let uid: String
    public let node: String
    public let namespace: String
    public let serviceAccount: String
    /// False once it has terminated: it gets nothing any more.
    public let live: Bool
    /// Why it has no identity although it lives, for a person; nil when it has one.
    public var exclusion: String?

    public init(
        uid: String, node: String, namespace: String, serviceAccount: String, live: Bool = true,
        exclusion: String? = nil
    ) {
        self.uid = uid
        self.node = node
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.live = live
        self.exclusion = exclusion
    }
}
