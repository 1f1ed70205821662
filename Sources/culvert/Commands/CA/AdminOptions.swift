import ArgumentParser
import Authority
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import IPAddressing
import MeshAPI
import SPIFFE

/// How the commands of an operator reach the running authority.
struct AdminOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The authority's admin socket.", valueName: "path"))
    var adminSocket = AdminSocket.defaultPath

    @Option(
        help: ArgumentHelp(
            "Instead of the socket: where the authority serves nodes. It has to know the workload of --svid as an administrator (--admin-id).",
            valueName: "ip:port"))
    var ca: String?

    @Option(help: ArgumentHelp("With --ca: the workload's certificates, leaf first, and key (PEM).", valueName: "file"))
    var svid: String?

    @Option(help: ArgumentHelp("With --ca: by which the authority is recognised (PEM).", valueName: "file"))
    var caBundle: String?

    func validate() throws {
        guard (ca == nil) == (svid == nil), (ca == nil) == (caBundle == nil) else {
            throw ValidationError("--ca, --svid and --ca-bundle belong together")
        }
    }

    /// What is asked for is not there.
    static let notFound = ExitCode(2)

    static let exitStatus = """
        EXIT STATUS
          0   done
          1   the authority was not reached, refused, or failed
          64  wrong usage
        """

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
        let (transport, refusal) = try transport()
        var options = CallOptions.defaults
        options.timeout = Self.timeout
        options.maxResponseMessageBytes = 64 << 20
        options.waitForReady = false
        do {
            return try await withGRPCClient(transport: transport) { [options] client in
                try await body(client, options)
            }
        } catch let error as RPCError {
            switch error.code {
            // These the authority says itself, whatever the others are.
            case .invalidArgument, .failedPrecondition: throw CommandFailure(error.message)
            case .notFound: throw CommandFailure(error.message, exitCode: Self.notFound)
            case .permissionDenied where ca != nil:
                throw CommandFailure(error.message, hint: "`culvert ca serve --admin-id` says who is")
            case .unimplemented where ca != nil:
                throw CommandFailure(
                    "the authority at \(ca ?? "") knows no administrators but those of its admin socket",
                    hint: "`culvert ca serve --admin-id` names some")
            case .unimplemented:
                throw CommandFailure(
                    "the authority on \(place) is of another version, which does not know this request",
                    hint: "use the culvert that it runs, or restart it with this one")
            case .deadlineExceeded:
                throw CommandFailure(
                    "the authority on \(place) has not answered within \(Self.timeout.inWords)",
                    hint: "its log may say what it waits for; ask again")
            default: throw unreachable(refusal() ?? error.message)
            }
        }
    }

    private static let timeout = Duration.seconds(10)
    private var place: String { ca ?? adminSocket }

    private func checkSocket() throws(CommandFailure) {
        var status = stat()
        if stat(adminSocket, &status) != 0 || access(adminSocket, R_OK | W_OK) != 0 {
            let code = errno
            guard code == EACCES else { throw unreachable(String(cString: strerror(code))) }
            throw CommandFailure(
                "\(adminSocket) may not be opened by this user",
                hint: "run as the user that runs the authority, or as root")
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw unreachable("that is no socket") }
        guard AdminSocket.isServed(adminSocket) else { throw unreachable("nobody listens there any more") }
    }

    private func transport() throws -> (HTTP2ClientTransport.Posix, refusal: @Sendable () -> String?) {
        if let ca, let svid, let caBundle {
            guard let address = SocketAddress(ca) else {
                throw CommandFailure("--ca: “\(ca)” is not an address", hint: "write it as 10.0.0.1:15012")
            }
            let administration: AuthorityAdministration
            do {
                let own = try X509SVID(pem: TextFile.read(svid))
                let bundle = try TrustBundle(trustDomain: own.id.trustDomain, pem: TextFile.read(caBundle))
                administration = try AuthorityAdministration(address: address, svid: own, bundle: bundle)
            } catch {
                throw CommandFailure("\(svid) or \(caBundle) cannot be used: \(error)")
            }
            return (administration.transport, { administration.refusal })
        }
        // A client would go on trying to reach a socket that is not there.
        try checkSocket()
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: adminSocket, authority: "localhost"), transportSecurity: .plaintext)
        return (transport, { nil })
    }

    private func unreachable(_ reason: String) -> CommandFailure {
        guard let ca else {
            return CommandFailure(
                "no authority answers on \(adminSocket): \(reason)",
                hint: "is `culvert ca serve` running? Name its socket with --admin-socket")
        }
        return CommandFailure(
            "no authority answers at \(ca): \(reason)",
            hint: "is the SVID of --svid valid still? `culvert cert inspect` says")
    }
}
