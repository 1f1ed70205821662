import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc

/// A gRPC server on a Unix socket that only its owner may open.
enum UnixSocketServer {
    /// In bytes. Requests are small but for the versions that a returning client holds: some 60 bytes each.
    static let requestBytesMax = 16 << 20

    /// Runs until the task is cancelled; then the calls in progress are cancelled too.
    static func serve(_ services: [any RegistrableRPCService], path: String) async throws {
        let transport = HTTP2ServerTransport.Posix(
            address: .unixDomainSocket(path: path),
            transportSecurity: .plaintext,
            config: .defaults { config in
                config.rpc.maxRequestPayloadSize = requestBytesMax
                config.http2.maxConcurrentStreams = 64
            }
        )
        let server = GRPCServer(transport: transport, services: services)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.serve() }
            group.addTask {
                // Fails with the server, whose own error says more.
                guard (try? await transport.listeningAddress) != nil else { return }
                guard chmod(path, 0o600) == 0 else {
                    throw UnixSocketError(path: path, code: errno)
                }
            }
            try await group.waitForAll()
        }
    }
}

/// A Unix socket that cannot be restricted to its owner.
public struct UnixSocketError: Error, Hashable, Sendable, CustomStringConvertible {
    public let path: String
    public let code: Int32

    public var description: String { "chmod 0600 \(path): errno \(code)" }
}
