import ArgumentParser
import FoundationEssentials
import Glibc
import MeshFile
import NodeAgent

/// `culvert verify`: is this pair really protected?
struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Prove that connections between two pods are authenticated and encrypted.",
        discussion: """
            Run as root on a node that has at least one of the pods. Nothing is taken on
            trust: rules, programs, guard and listeners are read from the kernel, the
            certificates from the proxy and from the destination's own handshake; a
            connection is made from the source's network namespace, without sending
            anything, and what its interface carries meanwhile is counted.

            A pod is namespace/name or one of its addresses. What belongs to another node is
            "unknown" here: run the same there.

            EXAMPLES
              culvert verify --mesh mesh.yaml --node node-a shop/web shop/api
              culvert verify --mesh mesh.yaml --node node-a --port 5432 shop/web 10.244.2.7
              culvert verify --mesh mesh.yaml --node node-a --format json shop/web shop/api |
                jq '.checks[] | select(.verdict != "ok")'

            EXIT STATUS
              0   proven
              1   something is wrong: see what FAILED, and what to do
              2   cannot be answered: no such pod or file, not on this node, not root
              3   what is on this node is well; the rest is on another node
              64  wrong usage
            """
    )

    @Argument(help: ArgumentHelp("The pod that connects.", valueName: "SRC"))
    var source: String

    @Argument(help: ArgumentHelp("The pod that it connects to.", valueName: "DST"))
    var destination: String

    @Option(help: "The mesh file.")
    var mesh: String

    @Option(help: "This node, as for the agent.")
    var node: String

    @Option(help: "The port of DST. (default: the lowest that a service leads to)")
    var port: UInt16?

    @Option(help: "The agent's and proxy's --run-dir.")
    var runDir = AgentRun.standardRunDirectory

    @Option(help: PinOption.help)
    var bpfDir: String?

    @Option(help: .duration("How long the connection may take."))
    var timeout = ArgumentDuration(.seconds(10))

    @Option(help: "table, json or yaml.")
    var format: TableFormat = .table

    func validate() throws {
        guard port != 0 else { throw ValidationError("--port 0 is no port") }
    }

    func run() async throws {
        try await CommandFailure.reporting {
            let result = try answer()
            let output = try format.document?.text(result) ?? result.text(Ink(for: STDOUT_FILENO))
            CertificateOutput.write(output, to: STDOUT_FILENO)
            guard result.exitCode == 0 else { throw ExitCode(result.exitCode) }
        }
    }

    /// In one thread: it enters network namespaces.
    private func answer() throws -> PairVerification {
        guard geteuid() == 0 else { throw unanswerable("only root can look into pods", hint: "use sudo") }
        let cluster: ClusterState
        do {
            cluster = ClusterState(try MeshFile.load(path: mesh))
        } catch {
            throw unanswerable("\(error)")
        }
        let question = try PairQuestion(source: source, destination: destination, port: port, in: cluster)
        guard [question.source, question.destination].contains(where: { $0.node == node }) else {
            throw unanswerable(
                "neither pod is on node \(node)",
                hint: "run it on node \(question.source.node) or \(question.destination.node)")
        }
        do {
            return try PairVerifier(
                question: question, cluster: cluster, node: node, runDirectory: runDir,
                pinDirectory: PinOption.directory(bpfDir, runDirectory: runDir), limit: timeout.value, now: Date()
            ).run()
        } catch {
            throw unanswerable("\(error)")
        }
    }

    private func unanswerable(_ reason: String, hint: String? = nil) -> CommandFailure {
        CommandFailure(reason, hint: hint, exitCode: PairQuestion.unanswerable)
    }
}
