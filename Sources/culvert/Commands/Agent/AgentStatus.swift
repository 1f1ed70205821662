import ArgumentParser
import Glibc
import Logging
import NodeAgent

/// `culvert agent status`
struct AgentStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows what there is of Culvert on this node: each pod's capture, guard and counters.",
        discussion: """
            Read from the kernel, not from the agent's memory: it says as much when the agent is dead. What only the agent \
            knows (why it chose its backend, drift, proxies) is from its last report.

            CAPTURE and LISTENERS are "whole", or how many of their parts are there; what is missing is named below the table. \
            GUARD is its mode and what holds it. DROPPED counts packets that the guard kept in, DRIFT how often a part was \
            found missing or changed and put back. HOLES are what is excluded: plaintext by the operator's own wish.

            Run it on the node itself, as root, with the agent's --run-dir.

            EXAMPLES
              culvert agent status
              culvert agent status --format json | jq '.pods[] | select(.missing != []) | {name, missing}'
              culvert agent status --format json | jq '.pods[] | select(.drift > 0) | {name, drifts}'

            EXIT STATUS
              0   everything is in place, and agent and proxy are there
              1   it could not be read
              2   something is missing, or agent or proxy are not there
              64  wrong usage
            """
    )

    @Option(help: "The agent's directory.")
    var runDir = AgentRun.standardRunDirectory

    @Option(help: PinOption.help)
    var bpfDir: String?

    @Option(help: "table, json or yaml.")
    var format = TableFormat.table

    func run() async throws {
        try await CommandFailure.reporting {
            try RootOnly.check("status")
            let status: NodeStatus
            do {
                status = try NodeStatus(
                    runDirectory: runDir, pinDirectory: PinOption.directory(bpfDir, runDirectory: runDir),
                    logger: Logger(label: "culvert.agent.status") { StreamLogHandler.standardError(label: $0) })
            } catch {
                throw CommandFailure("the status cannot be read: \(error)")
            }
            let report = NodeStatusReport(status)
            print(try format.document?.text(report) ?? report.text(Ink(for: STDOUT_FILENO)), terminator: "")
            if !report.isSound { throw ExitCode(2) }
        }
    }
}

/// What enters other processes' network namespaces.
enum RootOnly {
    static func check(_ command: String) throws {
        guard geteuid() == 0 else {
            throw CommandFailure(
                "culvert agent \(command) needs root: it looks into the pods' network namespaces",
                hint: "sudo culvert agent \(command)")
        }
    }
}
