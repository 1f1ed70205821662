public import GRPCCore
import GRPCNIOTransportHTTP2Posix
public import Logging
import Synchronization

/// Tells the node's proxy, and any ztunnel that asks, which workloads and services there are (delta ADS).
///
/// `publish` replaces the whole desired state; each stream is sent the difference between that and what its client
/// holds. Safe to use from any thread.
public final class WorkloadDiscoveryServer: Sendable {
    /// Since the server was made.
    public struct Statistics: Hashable, Sendable {
        public var streams = 0
        public var responses = 0
        public var acknowledged = 0
        /// Responses that a client refused wholly or in part.
        public var refused = 0
    }

    /// A node has one proxy; a few more while one replaces another, and an operator's tools.
    static let streamsMax = 16

    private struct State {
        /// By type and name.
        var resources: DiscoveryStream.Resources = [ResourceType.address: [:], ResourceType.authorization: [:]]
        var streams: [UInt64: ClientStream] = [:]
        var nextStream: UInt64 = 0
        var stopped = false
        var statistics = Statistics()
    }

    private let state = Mutex(State())
    private let logger: Logger

    public init(logger: Logger) {
        self.logger = logger
    }

    public var statistics: Statistics { state.withLock { $0.statistics } }

    /// What every client is to hold from now on. Two of the same name: the last one counts.
    public func publish(_ resources: some Sequence<DiscoveryResource>) {
        let byName = Dictionary(resources.map { ($0.name, $0) }) { _, last in last }
        let isStrict = byName.values.contains(where: \.isStrict)
        let policies = isStrict ? [DiscoveryResource.strictPolicy.name: DiscoveryResource.strictPolicy] : [:]
        let streams = state.withLock { state in
            state.resources = [ResourceType.address: byName, ResourceType.authorization: policies]
            return Array(state.streams.values)
        }
        for stream in streams { stream.wake() }
    }

    /// What is as it was needs not be named.
    public func publish(changed: [DiscoveryResource], removed: [String]) {
        let streams = state.withLock { state in
            for name in removed { state.resources[ResourceType.address]?[name] = nil }
            for resource in changed { state.resources[ResourceType.address]?[resource.name] = resource }
            let isStrict = state.resources[ResourceType.address]?.values.contains(where: \.isStrict) ?? false
            state.resources[ResourceType.authorization] =
                isStrict ? [DiscoveryResource.strictPolicy.name: DiscoveryResource.strictPolicy] : [:]
            return Array(state.streams.values)
        }
        for stream in streams { stream.wake() }
    }

    /// Listens on a Unix socket, which it makes and only its owner may open, until the task is cancelled.
    ///
    /// Throws when the socket cannot be made. The path must be in a directory that only the owner may write to.
    public func serve(unixSocket path: String) async throws {
        try await UnixSocketServer.serve([self], path: path)
    }

    private var resources: DiscoveryStream.Resources { state.withLock(\.resources) }
}

// MARK: - The service

extension WorkloadDiscoveryServer: Envoy_Service_Discovery_V3_AggregatedDiscoveryService.SimpleServiceProtocol {
    public func deltaAggregatedResources(
        request: RPCAsyncSequence<Envoy_Service_Discovery_V3_DeltaDiscoveryRequest, any Error>,
        response: RPCWriter<Envoy_Service_Discovery_V3_DeltaDiscoveryResponse>,
        context: ServerContext
    ) async throws {
        let (id, stream) = try open()
        defer { close(id) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for try await message in request {
                    try self.receive(message, on: stream, id)
                }
            }
            group.addTask {
                for await _ in stream.wakeUps {
                    while let message = stream.state.withLock({ $0.next(from: self.resources) }) {
                        try await response.write(message)
                        self.state.withLock { $0.statistics.responses += 1 }
                    }
                }
            }
            // Whichever half ends first ends the stream.
            try await group.next()
            group.cancelAll()
        }
    }

    private func open() throws(RPCError) -> (UInt64, ClientStream) {
        let opened: (UInt64, ClientStream)? = state.withLock { state in
            guard state.streams.count < Self.streamsMax else { return nil }
            let stream = ClientStream()
            let id = state.nextStream
            state.nextStream += 1
            state.streams[id] = stream
            state.statistics.streams += 1
            return (id, stream)
        }
        guard let opened else {
            logger.warning("Discovery stream refused: too many", metadata: ["limit": "\(Self.streamsMax)"])
            throw RPCError(code: .resourceExhausted, message: "\(Self.streamsMax) discovery streams are open already")
        }
        return opened
    }

    private func close(_ id: UInt64) {
        _ = state.withLock { $0.streams.removeValue(forKey: id) }
    }

    private func receive(
        _ message: Envoy_Service_Discovery_V3_DeltaDiscoveryRequest, on stream: ClientStream, _ id: UInt64
    ) throws(RPCError) {
        switch stream.state.withLock({ $0.receive(message) }) {
        case .subscribed:
            if message.hasNode {
                let node = message.node.id.shortened(to: 256)
                logger.info(
                    "Discovery client subscribed",
                    metadata: ["stream": "\(id)", "client": "\(node)", "type": "\(message.typeURL)"])
            }
        case .acknowledged:
            state.withLock { $0.statistics.acknowledged += 1 }
        case .refused(let reason):
            state.withLock { $0.statistics.refused += 1 }
            logger.error(
                "Discovery client refused resources",
                metadata: ["stream": "\(id)", "type": "\(message.typeURL)", "reason": "\(reason)"])
        case .stale:
            break
        case .violation(let reason):
            logger.error("Discovery client broke the protocol", metadata: ["stream": "\(id)", "reason": "\(reason)"])
            throw RPCError(code: .invalidArgument, message: reason)
        }
        stream.wake()
    }
}

/// A stream's state, and what wakes the task that writes to it.
private final class ClientStream: Sendable {
    let state = Mutex(DiscoveryStream())
    /// At most one is pending: whoever is woken looks at the state.
    let wakeUps: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() {
        (wakeUps, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func wake() { continuation.yield() }
}
