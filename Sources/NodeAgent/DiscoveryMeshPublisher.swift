import Glibc
public import Logging
import MeshAPI

/// Publishes the mesh by delta xDS on a Unix socket.
public struct DiscoveryMeshPublisher: MeshPublisher {
    private let server: WorkloadDiscoveryServer
    private let socketPath: String

    public init(socketPath: String, logger: Logger) {
        server = WorkloadDiscoveryServer(logger: logger)
        self.socketPath = socketPath
    }

    public func publish(_ change: MeshChange, since: ContinuousClock.Instant) {
        server.publish(
            changed: change.workloads.values.compactMap { $0.map(DiscoveryResource.init) }
                + change.services.values.compactMap { $0.map(DiscoveryResource.init) },
            removed: change.workloads.filter { $0.value == nil }.map(\.key)
                + change.services.filter { $0.value == nil }.map(\.key.description))
    }

    public func run() async throws {
        // The server does not take the place of a killed agent's socket by itself, nor clear its own away.
        unlink(socketPath)
        defer { unlink(socketPath) }
        try await server.serve(unixSocket: socketPath)
    }
}
