public import MeshAPI

/// Tells the node's proxy what the mesh looks like.
public protocol MeshPublisher: Sendable {
    /// Adds to what was published before. `since` is when the oldest part of it was learnt.
    func publish(_ change: MeshChange, since: ContinuousClock.Instant)
    /// What it has done so far; nil when it does not count.
    var statistics: DiscoveryStatistics? { get }
    /// Serves proxies until cancelled. Called after the first `publish`.
    func run() async throws
}

extension MeshPublisher {
    public var statistics: DiscoveryStatistics? { nil }
}
