import ArgumentParser
import FoundationEssentials
import Glibc
import MeshAPI

/// `culvert node list`
struct NodeList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Lists the nodes that have joined.",
        discussion: """
            STATE is "connected" while the node follows the trust bundle, "away" while it
            does not, "expired" when its own certificate has run out, "bearer" when it has none
            and takes its pods' by tokens, "banned", or "CLONED" when two hold its identity:
            find out which is genuine, then ban or evict it.
            BUNDLE is the sequence that the node verifies its peers with, LEAVES how many
            certificates its pods use.

            EXAMPLES
              culvert node list
              culvert node list --format json | jq -r '.nodes[] | select(.state == "cloned") | .name'

            EXIT STATUS
              0   listed
              1   the authority was not reached, or failed
              64  wrong usage
            """
    )

    @Option(help: "table, json or yaml.")
    var format = TableFormat.table

    @OptionGroup var admin: AdminOptions

    func run() async throws {
        try await CommandFailure.reporting {
            let response = try await admin.callNodes { client, options in
                try await client.listNodes(.init(), options: options)
            }
            let list = NodeListReport(response, now: Date())
            print(
                try format.document?.text(list) ?? list.text(now: Date(), Ink(for: STDOUT_FILENO)), terminator: "")
        }
    }
}
