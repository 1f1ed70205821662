import ArgumentParser
import FoundationEssentials
import Glibc
import MeshAPI

/// `culvert node show`
struct NodeShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Shows one node, and what it was given last.",
        discussion: """
            EXAMPLES
              culvert node show node-a
              culvert node show node-a --format json | jq '.signatures[0]'

            EXIT STATUS
              0   shown
              1   the authority was not reached, or failed
              2   there is no such node
              64  wrong usage
            """
    )

    @Argument(help: "The node's name.")
    var name: String

    @Option(help: "table, json or yaml.")
    var format = TableFormat.table

    @OptionGroup var admin: AdminOptions

    func run() async throws {
        try await CommandFailure.reporting {
            var request = Culvert_Authority_V1_ShowNodeRequest()
            request.name = name
            let response = try await admin.callNodes { [request] client, options in
                try await client.showNode(request, options: options)
            }
            let report = NodeDetailReport(response, now: Date())
            print(
                try format.document?.text(report) ?? report.text(now: Date(), Ink(for: STDOUT_FILENO)), terminator: "")
        }
    }
}
