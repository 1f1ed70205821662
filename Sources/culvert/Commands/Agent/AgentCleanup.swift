import ArgumentParser
import Glibc
import Logging
import NodeAgent
import Redirection

/// `culvert agent cleanup`
struct AgentCleanup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cleanup",
        abstract: "Removes everything that Culvert has installed on this node.",
        discussion: """
            Finds it by the agent's records, and without them: by its pins, by the names and numbers of its rules and routes in \
            every network namespace that a process is in or that is mounted, and by its filters on the node's interfaces. \
            Sysctls become what the records say they were; where a record is lost they stay as they are, and that is said.

            From then on the pods' connections are plaintext and reach each other directly. Connections through a proxy are \
            reset; a proxy that runs is to be ended besides. It may be repeated, also after it was interrupted.

            EXAMPLES
              culvert agent cleanup --dry-run
              culvert agent cleanup
              culvert agent cleanup --run-dir /run/culvert-test

            EXIT STATUS
              0   nothing of Culvert is left
              1   an agent runs, or nothing could be looked at
              2   something could not be removed
              64  wrong usage
            """
    )

    @Option(help: "The agent's directory.")
    var runDir = AgentRun.standardRunDirectory

    @Option(help: PinOption.help)
    var bpfDir: String?

    @Option(
        help: ArgumentHelp(
            "Besides the pods on record, look only into this network namespace; may be repeated. Without it, into all that can be reached.",
            valueName: "path"))
    var netns: [String] = []

    @Flag(help: "Only list what would be removed.")
    var dryRun = false

    @Flag(help: "Also while an agent runs, which puts everything back within seconds.")
    var force = false

    func run() async throws {
        try await CommandFailure.reporting {
            try RootOnly.check("cleanup")
            let isInUse = AgentDirectory.isInUse(runDir)
            if isInUse, !force, !dryRun {
                throw CommandFailure(
                    "an agent runs in \(runDir): it would put everything back within seconds",
                    hint: "stop it first (SIGTERM takes its pods out), or use --force")
            }
            let steps = try find()
            if steps.isEmpty {
                print("Nothing of Culvert is on this node.")
                if !dryRun, !isInUse { AgentDirectory.clear(runDir) }
                return
            }
            if dryRun {
                for step in steps { print("would remove \(step.what)") }
                return
            }
            let failed = perform(steps)
            // What other things hid, or somebody has put back.
            let left = try failed == 0 ? find(withoutRecords: true) : []
            for step in left { print("left: \(step.what)") }
            guard failed == 0, left.isEmpty else {
                let what = failed == 0 ? "something has come back or was left" : "\(failed) of \(steps.count) failed"
                throw CommandFailure(
                    "the node is not clean: \(what)",
                    hint: "records stay in \(runDir)/pods; mend what is named above, and run it again",
                    exitCode: ExitCode(2))
            }
            if !isInUse { AgentDirectory.clear(runDir) }
            print("Nothing of Culvert is left on this node.")
        }
    }

    private func find(withoutRecords: Bool = false) throws -> [NodeCleanup.Step] {
        if withoutRecords { NodeCleanup.removeRecords(in: runDir) }
        do {
            let pins =
                bpfDir ?? AgentDirectory.report(of: runDir).read()?.pinDirectory
                ?? PinOption.directory(nil, runDirectory: runDir)
            return try NodeCleanup(
                runDirectory: runDir, pinDirectory: pins, paths: netns,
                logger: Logger(label: "culvert.agent.cleanup") { StreamLogHandler.standardError(label: $0) }
            ).steps()
        } catch {
            throw CommandFailure("what is on the node cannot be found: \(error)")
        }
    }

    private func perform(_ steps: [NodeCleanup.Step]) -> Int {
        var failed = 0
        for (number, step) in steps.enumerated() {
            do {
                try step.perform()
                print("[\(number + 1)/\(steps.count)] removed \(step.what)")
            } catch {
                failed += 1
                print("[\(number + 1)/\(steps.count)] NOT removed \(step.what): \(error)")
            }
            fflush(nil)
        }
        return failed
    }
}
