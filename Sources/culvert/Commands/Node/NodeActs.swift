import ArgumentParser
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import MeshAPI

/// What the three acts upon a node have in common.
struct NodeActOptions: ParsableArguments {
    @Argument(help: "The node's name.")
    var name: String

    @Option(help: ArgumentHelp("Why; one line of at most 256 bytes, kept in the audit log.", valueName: "text"))
    var reason: String

    @OptionGroup var admin: AdminOptions

    func validate() throws {
        do { _ = try ActReason(reason) } catch { throw ValidationError("--reason: \(error)") }
    }

    typealias Call =
        @Sendable (
            Culvert_Authority_V1_NodeAdmin.Client<HTTP2ClientTransport.Posix>, Culvert_Authority_V1_NodeActRequest,
            CallOptions
        ) async throws -> Culvert_Authority_V1_NodeActResponse

    func perform(_ done: String, _ call: @escaping Call) async throws {
        try await CommandFailure.reporting {
            var request = Culvert_Authority_V1_NodeActRequest()
            request.name = name
            request.reason = reason
            _ = try await admin.callNodes { [request] client, options in try await call(client, request, options) }
            StandardError.write("Node \(name) \(done).\n")
        }
    }

    static let exitStatus = """
        EXIT STATUS
          0   done
          1   the authority was not reached, or could not do it
          2   there is no such node
          64  wrong usage
        """
}

/// `culvert node ban`
struct NodeBanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ban",
        abstract: "Gives a node nothing any more, until it is unbanned or evicted.",
        discussion: """
            No certificate is issued or renewed, its bundle stream ends, and its join tokens
            are void. What it holds stays valid until it expires: at most the lifetime of a
            leaf (--leaf-ttl of the authority). To cut that short, rotate the authority.

            EXAMPLES
              culvert node ban node-a --reason "disk stolen, ticket 4711"

            \(NodeActOptions.exitStatus)
            """
    )

    @OptionGroup var act: NodeActOptions

    func run() async throws {
        try await act.perform("banned") { try await $0.banNode($1, options: $2) }
    }
}

/// `culvert node unban`
struct NodeUnban: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unban",
        abstract: "Lets a banned node go on where it was.",
        discussion: """
            EXAMPLES
              culvert node unban node-a --reason "disk was found in a drawer"

            \(NodeActOptions.exitStatus)
            """
    )

    @OptionGroup var act: NodeActOptions

    func run() async throws {
        try await act.perform("unbanned") { try await $0.unbanNode($1, options: $2) }
    }
}

/// `culvert node evict`
struct NodeEvict: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evict",
        abstract: "Forgets a node: it joins again with a new token, or is gone.",
        discussion: """
            Its certificate is worth nothing from now on, a ban is forgotten with it, and
            tokens that were made for it and not used are void.

            EXAMPLES
              culvert node evict node-a --reason "rebuilt" && culvert ca token create --node node-a

            \(NodeActOptions.exitStatus)
            """
    )

    @OptionGroup var act: NodeActOptions

    func run() async throws {
        try await act.perform("evicted") { try await $0.evictNode($1, options: $2) }
    }
}
