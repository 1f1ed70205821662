import ArgumentParser
import FoundationEssentials
import Glibc
import MeshAPI

/// `culvert ca status`
struct CAStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows authorities and nodes, the rotation under way and what it waits for, and what was done.",
        discussion: """
            Roots go from prepared (published, not signing) over active, old (signs no more) and tainted (its leaves are issued \
            anew) to revoked (out of the bundle). A node is behind as long as it has not acknowledged the newest bundle.

            EXAMPLES
              culvert ca status
              culvert ca status --format json | jq -r '.nodes[] | select(.behindSince) | "\\(.name) \\(.acknowledgedSequence)"'
              culvert ca status --format json | jq '.waiting'

            \(AdminOptions.exitStatus)
            """
    )

    @Option(help: "table, json or yaml.")
    var format = TableFormat.table

    @OptionGroup var admin: AdminOptions

    func run() async throws {
        try await CommandFailure.reporting {
            let response = try await admin.call { client, options in
                try await client.status(.init(), options: options)
            }
            let report = AuthorityReport(response)
            print(try format.document?.text(report) ?? report.text(now: Date()), terminator: "")
        }
    }
}
