import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc

/// A gRPC server on a Unix socket for the users that it admits.
///
/// The socket's mode keeps the others out already; the kernel's word for who has connected (SO_PEERCRED) does so even where a
/// directory, a mode or a passed descriptor lets them by.
enum UnixSocketServer {
    /// In bytes. Requests are small but for the versions that a returning client holds: some 60 bytes each.
    static let requestBytesMax = 16 << 20

    /// Runs until the task is cancelled; then the calls in progress are cancelled too. What the services do finds who asks for it
    /// in `LocalPeer.current`.
    static func serve(
        _ services: [any RegistrableRPCService], path: String, peers: LocalPeerCheck = LocalPeerCheck()
    ) async throws {
        let transport = HTTP2ServerTransport.Posix(
            address: .unixDomainSocket(path: path),
            transportSecurity: .plaintext,
            config: .defaults { config in
                config.rpc.maxRequestPayloadSize = requestBytesMax
                config.http2.maxConcurrentStreams = 64
                config.channelDebuggingCallbacks.onAcceptTCPConnection = { peers.admit($0) }
                config.channelDebuggingCallbacks.onAcceptHTTP2Stream = { peers.mark($0) }
            }
        )
        let server = GRPCServer(transport: transport, services: services, interceptors: [LocalPeerInterceptor()])
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
