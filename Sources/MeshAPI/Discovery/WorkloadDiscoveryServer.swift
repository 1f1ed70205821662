public import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCProtobuf
public import Logging
import Synchronization

/// Tells the node's proxy, and any ztunnel that asks, which workloads and services there are (delta ADS).
///
/// Each stream is sent the difference between what there is and what its client holds, at a cost that depends on the difference.
/// Safe to use from any thread.
public final class WorkloadDiscoveryServer: Sendable {
    /// Changes that come within this time become one response, unless the client waits for it.
    public static let window = Duration.milliseconds(20)

    private struct State {
        var discovery = DiscoveryState()
        var wakeUps: [UInt64: AsyncStream<Void>.Continuation] = [:]
        var statistics = DiscoveryStatistics()
    }

    private let state = Mutex(State())
    private let logger: Logger

    public init(logger: Logger) {
        self.logger = logger
    }

    public var statistics: DiscoveryStatistics {
        state.withLock { state in
            var statistics = state.statistics
            statistics.openStreams = state.discovery.streamCount
            statistics.resources = state.discovery.resourceCount
            return statistics
        }
    }

    /// What is as it was needs not be named. `since` is when the oldest part of it was learnt.
    public func publish(
        changed: [DiscoveryResource], removed: [String] = [], since: ContinuousClock.Instant = .now
    ) {
        let wakeUps = state.withLock { state in
            state.discovery.publish(changed, removed: removed, since: since) ? Array(state.wakeUps.values) : []
        }
        for wakeUp in wakeUps { wakeUp.yield() }
    }

    /// Listens on a Unix socket, which it makes and only its owner may open, until the task is cancelled.
    ///
    /// Throws when the socket cannot be made. The path must be in a directory that only the owner may write to.
    public func serve(unixSocket path: String) async throws {
        try await UnixSocketServer.serve([self], path: path)
    }
}

// MARK: - The service

extension WorkloadDiscoveryServer: RegistrableRPCService {
    public func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        router.registerHandler(
            forMethod: Envoy_Service_Discovery_V3_AggregatedDiscoveryService.Method.DeltaAggregatedResources.descriptor,
            deserializer: ProtobufDeserializer<Envoy_Service_Discovery_V3_DeltaDiscoveryRequest>(),
            serializer: DiscoveryResponse.Serializer()
        ) { request, _ in
            StreamingServerResponse(metadata: [:]) { writer in
                try await self.serve(request.messages, writer)
                return [:]
            }
        }
    }

    private func serve(
        _ requests: RPCAsyncSequence<Envoy_Service_Discovery_V3_DeltaDiscoveryRequest, any Error>,
        _ writer: RPCWriter<DiscoveryResponse>
    ) async throws {
        // At most one is pending: whoever is woken looks at the state.
        let (wakeUps, wakeUp) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let (retries, retry) = AsyncStream.makeStream(
            of: ContinuousClock.Instant.self, bufferingPolicy: .bufferingNewest(1))
        let id = try open(wakeUp)
        defer { close(id) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for try await message in requests {
                    if let instant = try self.receive(message, from: id) { retry.yield(instant) }
                    wakeUp.yield()
                }
            }
            group.addTask {
                for await _ in wakeUps {
                    if !self.state.withLock({ $0.discovery.isUrgent(id) }) { try await Task.sleep(for: Self.window) }
                    while let response = self.next(for: id) { try await writer.write(response) }
                }
            }
            group.addTask {
                for await instant in retries {
                    try await Task.sleep(until: instant, clock: .continuous)
                    wakeUp.yield()
                }
            }
            // Whichever of them ends first ends the stream.
            try await group.next()
            group.cancelAll()
        }
    }

    private func open(_ wakeUp: AsyncStream<Void>.Continuation) throws(RPCError) -> UInt64 {
        let opened = state.withLock { state in
            let id = state.discovery.open()
            if let id {
                state.wakeUps[id] = wakeUp
                state.statistics.streams += 1
            }
            return id
        }
        guard let opened else {
            let limit = DiscoveryState.streamsMax
            logger.warning("Discovery stream refused: too many", metadata: ["limit": "\(limit)"])
            throw RPCError(code: .resourceExhausted, message: "\(limit) discovery streams are open already")
        }
        return opened
    }

    private func close(_ id: UInt64) {
        state.withLock { state in
            state.discovery.close(id)
            state.wakeUps[id] = nil
        }
    }

    private func next(for id: UInt64) -> DiscoveryResponse? {
        state.withLock { state in
            guard let response = state.discovery.next(for: id, now: .now) else { return nil }
            state.statistics.responses += 1
            state.statistics.resourcesSent += response.resources.count
            state.statistics.removalsSent += response.removals.count
            return response
        }
    }

    /// When the client is to be sent again what it refused.
    private func receive(
        _ message: Envoy_Service_Discovery_V3_DeltaDiscoveryRequest, from id: UInt64
    ) throws(RPCError) -> ContinuousClock.Instant? {
        let now = ContinuousClock.now
        let receipt = state.withLock { state in
            let receipt = state.discovery.receive(
                message.typeURL, DeltaSubscription.Request(message), from: id, now: now)
            switch receipt {
            case .acknowledged(let since):
                state.statistics.acknowledged += 1
                if let since { state.statistics.lag.add(now - since) }
            case .refused: state.statistics.refused += 1
            case .subscribed, .stale, .violation: break
            }
            return receipt
        }
        switch receipt {
        case .subscribed:
            if message.hasNode {
                let node = message.node.id.shortened(to: 256)
                logger.info(
                    "Discovery client subscribed",
                    metadata: [
                        "stream": "\(id)", "client": "\(node)", "type": "\(message.typeURL)",
                        "held": "\(message.initialResourceVersions.count)",
                    ])
            }
        case .refused(let reason, let retryAt):
            logger.error(
                "Discovery client refused resources",
                metadata: [
                    "stream": "\(id)", "type": "\(message.typeURL)", "reason": "\(reason)",
                    "again in": "\(retryAt - now)",
                ])
            return retryAt
        case .acknowledged, .stale:
            break
        case .violation(let reason):
            logger.error("Discovery client broke the protocol", metadata: ["stream": "\(id)", "reason": "\(reason)"])
            throw RPCError(code: .invalidArgument, message: reason)
        }
        return nil
    }
}

extension DeltaSubscription.Request {
    fileprivate init(_ message: Envoy_Service_Discovery_V3_DeltaDiscoveryRequest) {
        self.init(
            subscribe: message.resourceNamesSubscribe,
            unsubscribe: message.resourceNamesUnsubscribe,
            initialVersions: message.initialResourceVersions,
            nonce: message.responseNonce,
            refusal: message.hasErrorDetail ? message.errorDetail.message.shortened(to: 4096) : nil)
    }
}
