public import LinuxNetworking
public import Redirection

/// Puts a pod's connections into the proxy's listeners.
public protocol PodRedirector: Sendable {
    /// What is on record as installed, by this agent or an earlier one.
    func records() throws -> [PodRecord]
    /// Notes where the pod's redirection is going to be: before the first change, so that there is none that nobody knows of.
    func record(uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws
    /// Installs, or completes what is there, or changes it to another plan in one moment; after `record`.
    ///
    /// True as long as connections may exist that were opened around the proxy: from the first installation until
    /// `resetConnections` has succeeded, across restarts.
    func install(uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws -> Bool
    /// Ends the connections that were opened around the proxy, so that they are opened again through it. Answers how many.
    func resetConnections(uid: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws -> Int
    /// What is missing of what was installed, or was changed by somebody; `install` mends it.
    func drift(uid: String, in namespace: NetworkNamespace) throws -> [String]
    /// Which of the proxy's listeners are not in the pod; those of a pod that is served.
    func missingListeners(uid: String, in namespace: NetworkNamespace) throws -> [String]
    /// The pod's new connections are made without the proxy; those through it go on until `remove`. May be repeated.
    func release(uid: String, from namespace: NetworkNamespace) throws
    /// How many the proxy still has in the pod, tunnels included.
    func proxiedConnections(uid: String, in namespace: NetworkNamespace) throws -> Int
    /// Removes what was installed, then the record; resets what is left through the proxy. `nil` when the namespace is gone, and
    /// everything in it. Unknown uids are ignored.
    func remove(uid: String, from namespace: NetworkNamespace?) throws
}

extension PodRedirector {
    public func missingListeners(uid: String, in namespace: NetworkNamespace) throws -> [String] { [] }
}
