import GRPCCore
import GRPCNIOTransportHTTP2Posix
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
        /// Resources that were refused since the client was made.
        public var refused = 0
        /// Why the last connection ended, or none came about.
        public var lastError: String?
    }

    /// In bytes: a mesh comes in one message, some 300 bytes for a workload.
    static let responseBytesMax = 200 << 20
    /// Answers that wait to be sent; one for each type is normal.
    private static let pendingRequestsMax = 64

    private struct State {
        var protocolState: DeltaClientState
        var status = Status()
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
        var backoff = ReconnectBackoff()
        while !Task.isCancelled {
            let start = ContinuousClock.now
            let reason: String
            do {
                try await follow()
                reason = "the agent ended the stream"
            } catch {
                reason = Self.text(error)
            }
            let lifetime = disconnected(reason) ? ContinuousClock.now - start : .zero
            try? await Task.sleep(for: backoff.delay(afterConnectionOf: lifetime))
        }
    }

    /// One connection, until it ends.
    private func follow() async throws {
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: socketPath, authority: "localhost"),
            transportSecurity: .plaintext
        )
        var options = CallOptions.defaults
        options.maxResponseMessageBytes = Self.responseBytesMax
        let (requests, outbox) = AsyncStream.makeStream(
            of: Envoy_Service_Discovery_V3_DeltaDiscoveryRequest.self,
            bufferingPolicy: .bufferingOldest(Self.pendingRequestsMax))
        for request in state.withLock({ $0.protocolState.subscriptions() }) { outbox.yield(request) }
        try await withGRPCClient(transport: transport) { [options] client in
            let service = Envoy_Service_Discovery_V3_AggregatedDiscoveryService.Client(wrapping: client)
            try await service.deltaAggregatedResources(options: options) { writer in
                for await request in requests { try await writer.write(request) }
            } onResponse: { response in
                defer { outbox.finish() }
                for try await message in response.messages {
                    let reply = await self.take(message)
                    guard case .enqueued = outbox.yield(reply) else {
                        throw RPCError(code: .resourceExhausted, message: "the agent sends and does not read")
                    }
                }
            }
        }
    }

    private func take(
        _ response: Envoy_Service_Discovery_V3_DeltaDiscoveryResponse
    ) async -> Envoy_Service_Discovery_V3_DeltaDiscoveryRequest {
        let outcome = state.withLock { state in
            state.status.isConnected = true
            state.status.lastError = nil
            return state.protocolState.receive(response)
        }
        if !outcome.refused.isEmpty {
            let reason = outcome.reply.errorDetail.message
            logger.error("Discovery resources refused", metadata: ["reason": "\(reason)"])
        }
        if !outcome.update.isEmpty { await onUpdate(outcome.update) }
        state.withLock { state in
            state.status.refused += outcome.refused.count
            state.status.isSynchronised = state.protocolState.isSynchronised
        }
        return outcome.reply
    }

    /// Whether there was a connection.
    private func disconnected(_ reason: String) -> Bool {
        let (wasConnected, isNews) = state.withLock { state in
            let before = state.status
            state.status.isConnected = false
            state.status.lastError = reason
            return (before.isConnected, before.isConnected || before.lastError != reason)
        }
        // Each attempt while the agent is away would fill the log with one sentence.
        if isNews, !Task.isCancelled {
            logger.warning("Discovery is disconnected", metadata: ["socket": "\(socketPath)", "reason": "\(reason)"])
        }
        return wasConnected
    }

    private static func text(_ error: any Error) -> String {
        guard let error = error as? RPCError else { return "\(error)" }
        return "\(error.code): \(error.message)"
    }
}
