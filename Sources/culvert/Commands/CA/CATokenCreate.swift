import ArgumentParser
import Authority
import FoundationEssentials
import MeshAPI

/// `culvert ca token create`
struct CATokenCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Makes a join token, with which one node attests once.",
        discussion: """
            Standard output is the token and nothing else; with --nodes-from a line "NODE TOKEN" for each, and with --format a \
            document. The authority keeps only digests of them: they are shown once.

            EXAMPLES
              culvert ca token create --node node-a
              culvert ca token create --node node-a --ttl 1h > node-a.token
              kubectl get nodes -o name | cut -d/ -f2 > nodes && culvert ca token create --nodes-from nodes

            \(AdminOptions.exitStatus)
            """
    )

    @Option(help: "The node, by the name that pods of the mesh file have under 'node'.")
    var node: String?

    @Option(help: ArgumentHelp("A file with a node's name on each line: a token for each.", valueName: "file"))
    var nodesFrom: String?

    @Option(help: .duration("How long the token is good for, at most 7d."))
    var ttl = ArgumentDuration(.seconds(600))

    @Option(help: "text, json or yaml.")
    var format = AnswerFormat.text

    @OptionGroup var admin: AdminOptions

    func validate() throws {
        guard (node == nil) != (nodesFrom == nil) else { throw ValidationError("pass --node or --nodes-from") }
    }

    func run() async throws {
        try await CommandFailure.reporting {
            let nodes = try node.map { [$0] } ?? names()
            // All of them first: a token that nobody is shown is of no use.
            for name in nodes {
                do { _ = try NodeName(name) } catch { throw CommandFailure("\(error)") }
            }
            let ttlSeconds = UInt32(clamping: ttl.value.components.seconds)
            let tokens = try await admin.call { client, options in
                var tokens: [TokenReport.Token] = []
                for node in nodes {
                    var request = Culvert_Authority_V1_CreateJoinTokenRequest()
                    request.node = node
                    request.ttlSeconds = ttlSeconds
                    tokens.append(.init(node: node, try await client.createJoinToken(request, options: options)))
                }
                return tokens
            }
            guard let end = tokens.first?.expiresAt.formatted(.iso8601) else {
                throw CommandFailure("--nodes-from: no node is named in \(nodesFrom ?? "")")
            }
            StandardError.write(
                node.map { "Join token for node \($0): good once, until \(end).\n" }
                    ?? "Join tokens for \(nodes.count) nodes: each good once, until \(end).\n")
            let lines = tokens.map { node == nil ? "\($0.node) \($0.token)\n" : "\($0.token)\n" }
            print(try format.document?.text(TokenReport(tokens: tokens)) ?? lines.joined(), terminator: "")
        }
    }

    private func names() throws(CommandFailure) -> [String] {
        let text: String
        do { text = try TextFile.read(nodesFrom ?? "") } catch { throw CommandFailure("--nodes-from: \(error)") }
        return text.split(whereSeparator: \.isWhitespace).map { String($0) }
    }
}

/// The tokens that were made, for programs.
struct TokenReport: Encodable {
    struct Token: Encodable {
        let node: String
        let token: String
        let expiresAt: Date

        init(node: String, _ response: Culvert_Authority_V1_CreateJoinTokenResponse) {
            self.node = node
            token = response.token
            expiresAt = Date(wire: response.expiresAt)
        }
    }

    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    let tokens: [Token]
}
