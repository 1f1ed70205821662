public import LinuxNetworking
public import Redirection

/// Redirects pods, and puts the guard on each one that is redirected: it stands before the first connection is led anywhere, and
/// until new ones are not any more.
public struct GuardedPodRedirector: PodRedirector {
    private let redirector: any PodRedirector
    private let podGuard: PodGuard

    public init(_ redirector: any PodRedirector, podGuard: PodGuard) {
        self.redirector = redirector
        self.podGuard = podGuard
    }

    public func records() throws -> [PodRecord] { try redirector.records() }

    public func record(uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws {
        try redirector.record(uid: uid, netns: path, in: namespace, plan: plan)
    }

    /// The guard comes first: what was connected before is silent from when the first connection is captured.
    public func install(
        uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan
    ) throws -> Bool {
        try podGuard.attach(pod: uid, in: namespace, plan: plan)
        return try redirector.install(uid: uid, netns: path, in: namespace, plan: plan)
    }

    public func resetConnections(uid: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws -> Int {
        try redirector.resetConnections(uid: uid, in: namespace, plan: plan)
    }

    /// The guard goes last: a pod that is only half released is closed rather than open.
    public func release(uid: String, from namespace: NetworkNamespace) throws {
        try redirector.release(uid: uid, from: namespace)
        try podGuard.detach(pod: uid)
    }

    public func proxiedConnections(uid: String, in namespace: NetworkNamespace) throws -> Int {
        try redirector.proxiedConnections(uid: uid, in: namespace)
    }

    /// The record, by which both are found, goes with the redirection.
    public func remove(uid: String, from namespace: NetworkNamespace?) throws {
        if let namespace { try redirector.release(uid: uid, from: namespace) }
        try podGuard.detach(pod: uid)
        try redirector.remove(uid: uid, from: namespace)
    }

    public func missingListeners(uid: String, in namespace: NetworkNamespace) throws -> [String] {
        try redirector.missingListeners(uid: uid, in: namespace)
    }

    public func drift(uid: String, in namespace: NetworkNamespace) throws -> [String] {
        try redirector.drift(uid: uid, in: namespace) + podGuard.missing(of: uid, in: namespace)
    }
}
