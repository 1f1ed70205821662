/// Tells the node's proxy what the mesh looks like.
public protocol MeshPublisher: Sendable {
    /// Replaces all that was published before.
    func publish(_ mesh: PublishedMesh)
    /// Serves proxies until cancelled. Called after the first `publish`.
    func run() async throws
}
