public import LinuxNetworking
public import Redirection

/// Redirects pods, and puts the guard on each one that is redirected: it stands as long as the redirection does, and a moment longer
/// than a redirection that somebody takes away.
public struct GuardedPodRedirector: PodRedirector {
    private let redirector: any PodRedirector
    private let podGuard: PodGuard

    public init(_ redirector: any PodRedirector, podGuard: PodGuard) {
        self.redirector = redirector
        self.podGuard = podGuard
    }

    public func records() throws -> [PodRecord] { try redirector.records() }

    /// The record is written by the redirector before its first change, so that a guard without a record is none of a pod that
    /// is known.
    public func install(
        uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan
    ) throws -> Bool {
        let isBypassed = try redirector.install(uid: uid, netns: path, in: namespace, plan: plan)
        try podGuard.attach(pod: uid, in: namespace, plan: plan)
        return isBypassed
    }

    public func resetConnections(uid: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws -> Int {
        try redirector.resetConnections(uid: uid, in: namespace, plan: plan)
    }

    /// The guard goes first: the record, by which both are found, goes with the redirection.
    public func remove(uid: String, from namespace: NetworkNamespace?) throws {
        try podGuard.detach(pod: uid)
        try redirector.remove(uid: uid, from: namespace)
    }

    public func drift(uid: String, in namespace: NetworkNamespace) throws -> [String] {
        let missing =
            switch try podGuard.state(of: uid, in: namespace) {
            case .complete: [String]()
            case .absent: ["guard"]
            case .partial(let missing): missing
            }
        return try redirector.drift(uid: uid, in: namespace) + missing
    }
}
