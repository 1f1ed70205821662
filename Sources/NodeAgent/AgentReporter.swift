/// Somebody besides the report's file who is to know how the agent's pods are: the cluster they are in.
public protocol AgentReporter: Sendable {
    /// Called with each report that differs from the one before. Does not wait for anybody.
    func report(_ report: AgentReport)
    /// The agent ends: what it reported last is to be told, for a few seconds at most.
    func settle() async
    /// Tells what was reported, until cancelled.
    func run() async throws
}
