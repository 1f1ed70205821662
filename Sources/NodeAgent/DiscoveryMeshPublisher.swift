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

    public func publish(_ mesh: PublishedMesh) {
        server.publish(mesh.workloads.map(DiscoveryResource.init) + mesh.services.map(DiscoveryResource.init))
    }

    public func run() async throws {
        // The server does not take the place of a killed agent's socket by itself, nor clear its own away.
        unlink(socketPath)
        defer { unlink(socketPath) }
        try await server.serve(unixSocket: socketPath)
    }
}
