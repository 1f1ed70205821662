import CNI
import LinuxNetworking
public import Logging

/// Where the CNI plugin asks, one question for each connection: `cni.sock` in the agent's directory, root's only.
public final class SandboxServer: Sendable {
    /// Kubelets start a few pods at a time.
    private static let connectionsMax = 64
    private static let timeout = Duration.seconds(5)

    private let listener: SeqpacketListener
    private let logger: Logger
    /// Which namespaces are enrolled, for when nobody answers.
    private let namespacesFile: String

    /// Makes the socket, and the directory for the plugin's notes.
    public init(runDirectory: String, logger: Logger) throws {
        try AgentFiles.makeNotes(runDirectory)
        listener = try SeqpacketListener(path: AgentFiles.socket(runDirectory), backlog: 64)
        namespacesFile = AgentFiles.enrolledNamespaces(runDirectory)
        self.logger = logger
    }

    /// Until the task is cancelled.
    func run(_ ask: @escaping @Sendable (SandboxQuestion) async -> SandboxAnswer) async throws {
        defer { listener.close() }
        try await withThrowingDiscardingTaskGroup { group in
            let gate = AsyncGate(Self.connectionsMax)
            while true {
                await gate.enter()
                let socket = try await listener.accept(deadline: nil)
                group.addTask {
                    await self.serve(socket, ask)
                    gate.leave()
                }
            }
        }
    }

    private func serve(
        _ socket: SeqpacketSocket, _ ask: @Sendable (SandboxQuestion) async -> SandboxAnswer
    ) async {
        defer { socket.close() }
        do {
            let deadline = ContinuousClock.now + Self.timeout
            guard let packet = try await socket.receive(deadline: deadline) else { return }
            guard let question = SandboxQuestion(bytes: packet.bytes) else {
                return try await socket.send(
                    SandboxAnswer.refused("the question is not understood").bytes, deadline: deadline)
            }
            let answer = await ask(question)
            report(question, answer)
            try await socket.send(answer.bytes, deadline: .now + Self.timeout)
        } catch {
            logger.warning("CNI plugin's question not answered", metadata: ["reason": "\(error)"])
        }
    }

    private func report(_ question: SandboxQuestion, _ answer: SandboxAnswer) {
        guard let sandbox = question.sandbox else { return }
        let metadata: Logger.Metadata = [
            "pod": "\(sandbox.pod.namespace)/\(sandbox.pod.name)", "asked": "\(question.kind.rawValue)",
        ]
        switch answer {
        case .ready: logger.info("Pod may start: it is enrolled", metadata: metadata)
        case .notEnrolled: logger.debug("Pod may start: it is not enrolled", metadata: metadata)
        case .refused(let reason):
            logger.warning("Pod may not start yet", metadata: metadata.merging(["reason": "\(reason)"]) { $1 })
        }
    }

    func publish(_ namespaces: Set<String>) {
        let known = EnrolledNamespaces(namespaces)
        guard EnrolledNamespaces.read(namespacesFile) != known else { return }
        do {
            try known.write(namespacesFile)
        } catch {
            logger.error(
                "CNI plugin does not learn which namespaces are enrolled", metadata: ["reason": "\(error)"])
        }
    }
}

/// Lets so many in at a time.
private final class AsyncGate: Sendable {
    private let slots: AsyncStream<Void>
    private let slot: AsyncStream<Void>.Continuation

    init(_ count: Int) {
        (slots, slot) = AsyncStream.makeStream()
        for _ in 0..<count { slot.yield() }
    }

    /// Of one task only.
    func enter() async { for await _ in slots { return } }
    func leave() { slot.yield() }
}
