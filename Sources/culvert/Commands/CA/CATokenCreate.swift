import ArgumentParser
import FoundationEssentials
import MeshAPI

/// `culvert ca token create`
struct CATokenCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Makes a join token, with which one node attests once.",
        discussion: """
            Standard output is the token and nothing else; with --nodes-from a line "NODE TOKEN" for each. The authority \
            keeps only digests of them: they are shown once.

            EXAMPLES
              culvert ca token create --node node-a
              culvert ca token create --node node-a --ttl 1h > node-a.token
              kubectl get nodes -o name | cut -d/ -f2 > nodes && culvert ca token create --nodes-from nodes
            """
    )

    @Option(help: "The node, by the name that pods of the mesh file have under 'node'.")
    var node: String?

    @Option(help: ArgumentHelp("A file with a node's name on each line: a token for each.", valueName: "file"))
    var nodesFrom: String?

    @Option(help: ArgumentHelp("How long the token is good for, at most 7d.", valueName: "duration"))
    var ttl = ArgumentDuration(.seconds(600))

    @OptionGroup var admin: AdminOptions

    func validate() throws {
        guard (node == nil) != (nodesFrom == nil) else { throw ValidationError("pass --node or --nodes-from") }
    }

    func run() async throws {
        try await CommandFailure.reporting {
            let nodes = try node.map { [$0] } ?? names()
            let ttlSeconds = UInt32(clamping: ttl.value.components.seconds)
            let created = try await admin.call { client, options in
                var created: [Culvert_Authority_V1_CreateJoinTokenResponse] = []
                for node in nodes {
                    var request = Culvert_Authority_V1_CreateJoinTokenRequest()
                    request.node = node
                    request.ttlSeconds = ttlSeconds
                    created.append(try await client.createJoinToken(request, options: options))
                }
                return created
            }
            guard let first = created.first else { return }
            let end = Date(timeIntervalSince1970: Double(first.expiresAt)).formatted(.iso8601)
            if node != nil {
                StandardError.write("Join token for node \(nodes[0]): good once, until \(end).\n")
                print(first.token)
            } else {
                StandardError.write("Join tokens for \(nodes.count) nodes: each good once, until \(end).\n")
                for (name, response) in zip(nodes, created) { print("\(name) \(response.token)") }
            }
        }
    }

    private func names() throws(CommandFailure) -> [String] {
        let text: String
        do { text = try TextFile.read(nodesFrom ?? "") } catch { throw CommandFailure("--nodes-from: \(error)") }
        return text.split(whereSeparator: \.isWhitespace).map { String($0) }
    }
}
