import ArgumentParser
import FoundationEssentials
import Glibc
import MeshAPI

/// `culvert ca status`
struct CAStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows authorities, nodes, and which bundle each node verifies with.",
        discussion: """
            EXAMPLES
              culvert ca status
              culvert ca status --json | jq '.nodes[] | select(.acknowledgedSequence < 1)'
            """
    )

    @Flag(help: "JSON with a schemaVersion, for programs.")
    var json = false

    @OptionGroup var admin: AdminOptions

    func run() async throws {
        try await CommandFailure.reporting {
            let response = try await admin.call { client, options in
                try await client.status(.init(), options: options)
            }
            let report = AuthorityReport(response)
            print(json ? try report.json() : report.text(now: Date()), terminator: "")
        }
    }
}
