import Glibc
public import Logging
public import MeshAPI

/// Publishes the mesh by delta xDS on a Unix socket.
public struct DiscoveryMeshPublisher: MeshPublisher {
    private let server: WorkloadDiscoveryServer
    private let socketPath: String

    public init(socketPath: String, logger: Logger) {
        server = WorkloadDiscoveryServer(logger: logger)
        self.socketPath = socketPath
    }

    public func publish(_ change: MeshChange, since: ContinuousClock.Instant) {
        var changed: [DiscoveryResource] = []
        var removed: [String] = []
        for (uid, workload) in change.workloads {
            if let workload { changed.append(DiscoveryResource(workload)) } else { removed.append(uid) }
        }
        for (name, service) in change.services {
            if let service { changed.append(DiscoveryResource(service)) } else { removed.append(name.description) }
        }
        if let ranges = change.ranges { changed.append(DiscoveryResource(ranges: ranges)) }
        server.publish(changed: changed, removed: removed, since: since)
    }

    public var statistics: DiscoveryStatistics? { server.statistics }

    public func run() async throws {
        // The server does not take the place of a killed agent's socket by itself, nor clear its own away.
        unlink(socketPath)
        defer { unlink(socketPath) }
        try await server.serve(unixSocket: socketPath)
    }
}
