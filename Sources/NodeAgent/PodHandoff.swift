public import LinuxNetworking

/// Gives the node's pods to its proxy, with their network namespaces.
///
/// A proxy may be absent, or come and go: whatever was added and not removed is given to the next one that connects.
public protocol PodHandoff: Sendable {
    /// Adding a uid again, in the same namespace or a new one, replaces it. Does not wait for a proxy.
    func add(_ pod: ClusterState.Pod, in namespace: NetworkNamespace) throws
    /// Unknown uids are ignored. Does not wait for a proxy.
    func remove(uid: String)
    /// Whether a connected proxy has said that it serves the pod: then its listeners are there.
    func isServed(uid: String) -> Bool
    /// Those connected, and the last ones refused.
    var proxies: [AgentReport.Proxy] { get }
    /// Waits until connected proxies have let go of all removed pods, for two seconds at most.
    func settle() async
    /// Serves proxies until cancelled. Called when all pods known at start have been added: a proxy that outlived the last
    /// agent drops the pods that it is not told of at once.
    func run() async throws
}

extension PodHandoff {
    public func isServed(uid: String) -> Bool { false }
    public var proxies: [AgentReport.Proxy] { [] }
}
