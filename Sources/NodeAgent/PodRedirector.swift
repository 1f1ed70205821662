public import LinuxNetworking
public import Redirection

/// Puts a pod's connections into the proxy's listeners.
public protocol PodRedirector: Sendable {
    /// What is on record as installed, by this agent or an earlier one.
    func records() throws -> [PodRecord]
    /// Installs, or completes what is there, or changes it to another plan in one moment; the record is written first.
    ///
    /// True as long as connections may exist that were opened around the proxy: from the first installation until
    /// `resetConnections` has succeeded, across restarts.
    func install(uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws -> Bool
    /// Ends the connections that were opened around the proxy, so that they are opened again through it. Answers how many.
    func resetConnections(uid: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws -> Int
    /// What is missing of what was installed, or was changed by somebody; `install` mends it.
    func drift(uid: String, in namespace: NetworkNamespace) throws -> [String]
    /// Removes what was installed, then the record. `nil` when the namespace is gone, and everything in it. Unknown uids
    /// are ignored.
    func remove(uid: String, from namespace: NetworkNamespace?) throws
}
