import ArgumentParser
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import MeshAPI

/// How the commands of an operator reach the running authority.
struct AdminOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The authority's admin socket.", valueName: "path"))
    var adminSocket = AdminSocket.defaultPath

    /// What is asked for is not there.
    static let notFound = ExitCode(2)

    /// Makes one call; its failure says what to do.
    func call<Reply: Sendable>(
        _ body:
            @Sendable @escaping (
                Culvert_Authority_V1_AuthorityAdmin.Client<HTTP2ClientTransport.Posix>, CallOptions
            ) async throws -> Reply
    ) async throws -> Reply {
        try await connected { client, options in
            try await body(Culvert_Authority_V1_AuthorityAdmin.Client(wrapping: client), options)
        }
    }

    /// The same, of the service for everything else.
    func callOperator<Reply: Sendable>(
        _ body:
            @Sendable @escaping (
                Culvert_Authority_V1_AuthorityOperator.Client<HTTP2ClientTransport.Posix>, CallOptions
            ) async throws -> Reply
    ) async throws -> Reply {
        try await connected { client, options in
            try await body(Culvert_Authority_V1_AuthorityOperator.Client(wrapping: client), options)
        }
    }

    /// The same, about nodes.
    func callNodes<Reply: Sendable>(
        _ body:
            @Sendable @escaping (
                Culvert_Authority_V1_NodeAdmin.Client<HTTP2ClientTransport.Posix>, CallOptions
            ) async throws -> Reply
    ) async throws -> Reply {
        try await connected { try await body(Culvert_Authority_V1_NodeAdmin.Client(wrapping: $0), $1) }
    }

    private func connected<Reply: Sendable>(
        _ body: @Sendable @escaping (GRPCClient<HTTP2ClientTransport.Posix>, CallOptions) async throws -> Reply
    ) async throws -> Reply {
        // A client would go on trying to reach a socket that is not there.
        guard access(adminSocket, F_OK) == 0 else { throw unreachable("there is no such socket") }
        guard access(adminSocket, R_OK | W_OK) == 0 else {
            throw CommandFailure(
                "\(adminSocket) may not be opened by this user", hint: "run as the user that runs the authority")
        }
        var options = CallOptions.defaults
        options.timeout = .seconds(10)
        options.maxResponseMessageBytes = 64 << 20
        options.waitForReady = false
        do {
            let transport = try HTTP2ClientTransport.Posix(
                target: .unixDomainSocket(path: adminSocket, authority: "localhost"), transportSecurity: .plaintext)
            return try await withGRPCClient(transport: transport) { [options] client in
                try await body(client, options)
            }
        } catch let error as RPCError {
            switch error.code {
            // These the authority says itself, whatever the others are.
            case .invalidArgument, .failedPrecondition: throw CommandFailure(error.message)
            case .notFound: throw CommandFailure(error.message, exitCode: Self.notFound)
            default: throw unreachable(error.message)
            }
        }
    }

    private func unreachable(_ reason: String) -> CommandFailure {
        CommandFailure(
            "no authority answers on \(adminSocket): \(reason)",
            hint: "is `culvert ca serve` running? Name its socket with --admin-socket")
    }
}
