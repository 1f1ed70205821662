import ArgumentParser
import FoundationEssentials
import MeshAPI

/// `culvert ca token create`
struct CATokenCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Makes a join token, with which one node attests once.",
        discussion: """
            Standard output is the token and nothing else. The authority keeps only a digest of it: it is shown once.

            EXAMPLES
              culvert ca token create --node node-a
              culvert ca token create --node node-a --ttl 1h > node-a.token
            """
    )

    @Option(help: "The node, by the name that pods of the mesh file have under 'node'.")
    var node: String

    @Option(help: ArgumentHelp("How long the token is good for, at most 7d.", valueName: "duration"))
    var ttl = ArgumentDuration(.seconds(600))

    @OptionGroup var admin: AdminOptions

    func run() async throws {
        try await CommandFailure.reporting {
            var request = Culvert_Authority_V1_CreateJoinTokenRequest()
            request.node = node
            request.ttlSeconds = UInt32(clamping: ttl.value.components.seconds)
            let response = try await admin.call { [request] client, options in
                try await client.createJoinToken(request, options: options)
            }
            let end = Date(timeIntervalSince1970: Double(response.expiresAt)).formatted(.iso8601)
            StandardError.write("Join token for node \(node): good once, until \(end).\n")
            print(response.token)
        }
    }
}
