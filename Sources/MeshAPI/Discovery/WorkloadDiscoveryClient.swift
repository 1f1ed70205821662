import GRPCCore
import GRPCNIOTransportHTTP2Posix
public import IPAddressing
public import Logging
public import MeshState
public import SPIFFE
import Synchronization

/// Follows the mesh from the node agent's discovery socket (delta ADS), and reconnects for as long as it runs.
///
/// What it has learnt stays valid while it is disconnected.
public final class WorkloadDiscoveryClient: Sendable {
    /// For readiness and for operators.
    public struct Status: Hashable, Sendable {
        public var isConnected = false
        /// The whole mesh has been received once, and applied.
        public var isSynchronised = false
        /// Since the client was made.
        public var responses = 0
        /// Resources that were told, and removals.
        public var resources = 0
        public var removals = 0
        /// Resources that were refused.
        public var refused = 0
        /// Connections that have ended.
        public var disconnections = 0
        /// Why the last connection ended, or none came about.
        public var lastError: String?

        public init() {}
    }

    /// What came of asking for an address.
    public enum Answer: Hashable, Sendable {
        /// Whatever the agent knows of it has been applied.
        case told
        /// Nobody could be asked, and why.
        case unavailable(String)
    }

    /// In bytes: a mesh comes in one message, some 300 bytes for a workload.
    static let responseBytesMax = 200 << 20
    /// Answers that wait to be sent; one for each type is normal.
    private static let pendingRequestsMax = 64 + DeltaClientState.questionsMax
    /// For so long without a connection, questions wait for the next one: an agent that is replaced is back by then.
    private static let patience = Duration.seconds(2)
    /// Who may wait for the answers to all questions.
    private static let askersMax = 16_384

    private struct State {
        var protocolState: DeltaClientState
        var status = Status()
        var outbox: AsyncStream<Envoy_Service_Discovery_V3_DeltaDiscoveryRequest>.Continuation?
        var askers: [IPAddress: [@Sendable (Answer) -> Void]] = [:]
        var askerCount = 0
        var connectionLost: ContinuousClock.Instant? = .now
    }

    private let socketPath: String
    private let state: Mutex<State>
    private let logger: Logger
    private let onUpdate: @Sendable (MeshUpdate) async -> Void

    /// `onUpdate` is called for one update at a time, in order; the next is read when it has returned.
    /// `trustDomain` is that of workloads that do not name theirs.
    public init(
        socketPath: String,
        node: String,
        trustDomain: TrustDomain,
        logger: Logger,
        onUpdate: @escaping @Sendable (MeshUpdate) async -> Void
    ) {
        self.socketPath = socketPath
        self.state = Mutex(State(protocolState: DeltaClientState(node: node, trustDomain: trustDomain)))
        self.logger = logger
        self.onUpdate = onUpdate
    }

    public var status: Status { state.withLock { $0.status } }

    /// Runs until the task is cancelled.
    public func run() async {
        async let _ = endQuestions()
        await reconnectForEver()
    }

    private func reconnectForEver() async {
        var backoff = ReconnectBackoff()
        while !Task.isCancelled {
            let start = ContinuousClock.now
            let reason: String
            do {
                try await follow()
                reason = "the agent ended the stream"
            } catch {
                reason = Self.text(error)
                if let code = (error as? RPCError)?.code, ![.unavailable, .cancelled].contains(code) {
                    state.withLock { $0.protocolState.wasRefused() }
                }
            }
            let lifetime = disconnected(reason) ? ContinuousClock.now - start : .zero
            try? await Task.sleep(
                for: backoff.delay(afterConnectionOf: lifetime, random: .random(in: .min ... .max)))
        }
    }

    /// One connection, until it ends.
    private func follow() async throws {
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: socketPath, authority: "localhost"),
            transportSecurity: .plaintext,
            // A mesh comes in one message of many megabytes: by the defaults, in thousands of frames, every fourth of which is waited for.
            config: .defaults { config in
                config.http2.maxFrameSize = 1 << 18
                config.http2.targetWindowSize = 8 << 20
            }
        )
        var options = CallOptions.defaults
        options.maxResponseMessageBytes = Self.responseBytesMax
        // The transport takes this limit, of 4 MiB by default, for what comes in, too.
        options.maxRequestMessageBytes = Self.responseBytesMax
        let (requests, outbox) = AsyncStream.makeStream(
            of: Envoy_Service_Discovery_V3_DeltaDiscoveryRequest.self,
            bufferingPolicy: .bufferingOldest(Self.pendingRequestsMax))
        for request in state.withLock({ $0.protocolState.subscriptions() }) { outbox.yield(request) }
        defer { state.withLock { $0.outbox = nil } }
        try await withGRPCClient(transport: transport) { [options] client in
            let service = Envoy_Service_Discovery_V3_AggregatedDiscoveryService.Client(wrapping: client)
            try await service.deltaAggregatedResources(options: options) { writer in
                for await request in requests { try await writer.write(request) }
            } onResponse: { response in
                defer { outbox.finish() }
                for try await message in response.messages {
                    for request in await self.take(message, outbox) {
                        guard case .enqueued = outbox.yield(request) else {
                            throw RPCError(code: .resourceExhausted, message: "the agent sends and does not read")
                        }
                    }
                }
            }
        }
    }

    private func take(
        _ response: Envoy_Service_Discovery_V3_DeltaDiscoveryResponse,
        _ outbox: AsyncStream<Envoy_Service_Discovery_V3_DeltaDiscoveryRequest>.Continuation
    ) async -> [Envoy_Service_Discovery_V3_DeltaDiscoveryRequest] {
        let outcome = state.withLock { state in
            state.status.isConnected = true
            state.status.lastError = nil
            state.connectionLost = nil
            let outcome = state.protocolState.receive(response)
            // Questions come after the first requests, and are not said twice.
            if state.protocolState.hasMeshOnStream { state.outbox = outbox }
            return outcome
        }
        if !outcome.refused.isEmpty {
            let reason = outcome.reply.errorDetail.message
            logger.error("Discovery resources refused", metadata: ["reason": "\(reason)"])
        }
        if !outcome.update.isEmpty { await onUpdate(outcome.update) }
        let askers = state.withLock { state in
            state.status.responses += 1
            state.status.resources += response.resources.count
            state.status.removals += response.removedResources.count
            state.status.refused += outcome.refused.count
            state.status.isSynchronised = state.protocolState.isSynchronised
            let askers = outcome.answered.flatMap { state.askers.removeValue(forKey: $0) ?? [] }
            state.askerCount -= askers.count
            return askers
        }
        for asker in askers { asker(.told) }
        return [outcome.reply] + outcome.next
    }

    /// Whether there was a connection.
    private func disconnected(_ reason: String) -> Bool {
        let (wasConnected, isNews) = state.withLock { state in
            let before = state.status
            state.status.isConnected = false
            state.status.lastError = reason
            if before.isConnected { state.status.disconnections += 1 }
            state.outbox = nil
            state.connectionLost = state.connectionLost ?? .now
            return (before.isConnected, before.isConnected || before.lastError != reason)
        }
        // Each attempt while the agent is away would fill the log with one sentence.
        if isNews, !Task.isCancelled {
            logger.warning("Discovery is disconnected", metadata: ["socket": "\(socketPath)", "reason": "\(reason)"])
        }
        return wasConnected
    }

    // MARK: Questions

    /// Asks the agent for what has this address. `answer` is called once, on any thread; also at once.
    ///
    /// While there is no agent the question waits for one, for two seconds after the last one was lost.
    public func lookUp(_ address: IPAddress, _ answer: @escaping @Sendable (Answer) -> Void) {
        let refusal: Answer? = state.withLock { state in
            if let lost = state.connectionLost, ContinuousClock.now - lost > Self.patience {
                return .unavailable("no agent: \(state.status.lastError ?? "not connected yet")")
            }
            guard state.askerCount < Self.askersMax else { return .unavailable("too many wait for the agent") }
            switch state.protocolState.ask(address) {
            case .tooMany: return .unavailable("too many addresses are asked for")
            case .ask(let request): state.outbox?.yield(request)
            case .asked: break
            }
            state.askers[address, default: []].append(answer)
            state.askerCount += 1
            return nil
        }
        if let refusal { answer(refusal) }
    }

    /// Ends the questions that have waited for an agent in vain. Runs until the task is cancelled.
    private func endQuestions() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.patience / 4)
            let (askers, reason) = state.withLock { state in
                guard let lost = state.connectionLost, ContinuousClock.now - lost > Self.patience,
                    state.askerCount > 0
                else { return ([@Sendable (Answer) -> Void](), "") }
                defer {
                    state.askers = [:]
                    state.askerCount = 0
                    state.protocolState.withdrawQuestions()
                }
                return (state.askers.values.flatMap(\.self), state.status.lastError ?? "not connected yet")
            }
            for asker in askers { asker(.unavailable("no agent: \(reason)")) }
        }
    }

    private static func text(_ error: any Error) -> String {
        guard let error = error as? RPCError else { return "\(error)" }
        return "\(error.code): \(error.message)"
    }
}
