import Glibc
public import LinuxNetworking
public import Logging
import Synchronization

/// Learns from the node agent which pods to serve, with their network namespaces (ZDS, the client's side).
///
/// Reconnects for as long as it runs; pods go on being served meanwhile.
public final class ZDSClient: Sendable {
    /// Serves a pod. Called for one pod at a time; the agent waits for it, at most 5 s. An error is told to the agent,
    /// and the pod tried again every 5 s.
    public typealias Add =
        @Sendable (_ uid: String, _ info: ZDSWorkloadInfo, _ namespace: NetworkNamespace) async throws -> Void
    /// Stops serving a pod that was added.
    public typealias Delete = @Sendable (_ uid: String) async -> Void

    /// For readiness and for operators.
    public struct Status: Hashable, Sendable {
        /// Nil: connected, every pod of the node known, and served. Else what is missing.
        public var unreadyReason: String?
        public var running: Int
        public var pending: Int
    }

    private static let sendTimeout = Duration.seconds(5)

    private let path: String
    private let state = Mutex(ZDSClientState())
    private let logger: Logger
    private let add: Add
    private let delete: Delete

    public init(path: String, logger: Logger, add: @escaping Add, delete: @escaping Delete) {
        self.path = path
        self.logger = logger
        self.add = add
        self.delete = delete
    }

    public var status: Status {
        state.withLock { Status(unreadyReason: $0.unreadyReason, running: $0.runningCount, pending: $0.pendingCount) }
    }

    /// Runs until the task is cancelled.
    public func run() async {
        var backoff = ReconnectBackoff()
        var lastReason: String?
        while !Task.isCancelled {
            let start = ContinuousClock.now
            var lifetime = Duration.zero
            let reason: String
            do {
                let socket = try await connect()
                reason = await converse(socket)
                lifetime = ContinuousClock.now - start
            } catch {
                reason = "\(error)"
            }
            state.withLock { $0.disconnected() }
            // Each attempt while the agent is away would fill the log with one sentence.
            if reason != lastReason, !Task.isCancelled {
                logger.warning("ZDS is disconnected", metadata: ["socket": "\(path)", "reason": "\(reason)"])
            }
            lastReason = lifetime > .zero ? nil : reason
            try? await Task.sleep(
                for: backoff.delay(
                    afterConnectionOf: lifetime, random: .random(in: .min ... .max)))
        }
    }

    private func connect() async throws -> SeqpacketSocket {
        let socket = try SeqpacketSocket(connectingTo: path)
        try await socket.send(try ZDSMessage.hello(), deadline: .now + Self.sendTimeout)
        state.withLock { $0.connected() }
        logger.info("ZDS is connected", metadata: ["socket": "\(path)"])
        return socket
    }

    /// Until the connection ends; says why.
    private func converse(_ socket: SeqpacketSocket) async -> String {
        defer { socket.close() }
        var conversation = Conversation(client: self)
        while true {
            let packet: Packet?
            do throws(Errno) {
                packet = try await socket.receive(deadline: state.withLock { $0.retryTime })
            } catch {
                guard error.code == ETIMEDOUT else { return "\(error)" }
                _ = await conversation.perform(state.withLock { $0.retries(now: .now) }, namespace: nil)
                continue
            }
            guard let packet else { return "the agent closed the connection" }
            do {
                let failure = try await conversation.answer(packet)
                try await acknowledge(socket, error: failure)
            } catch let error as ZDSError {
                try? await acknowledge(socket, error: error.description)
                return "protocol error: \(error)"
            } catch {
                return "\(error)"
            }
        }
    }

    private func acknowledge(_ socket: SeqpacketSocket, error: String?) async throws {
        try await socket.send(try ZDSMessage.acknowledgement(error: error), deadline: .now + Self.sendTimeout)
    }
}

extension ZDSClient {
    /// One connection's requests, and the namespaces of pods that could not be started and will be tried again.
    private struct Conversation {
        let client: ZDSClient
        var namespaces: [String: NetworkNamespace] = [:]

        /// The text to acknowledge with; nil for success. An error ends the connection.
        mutating func answer(_ packet: Packet) async throws(ZDSError) -> String? {
            let request = try ZDSMessage.decodeRequest(packet.bytes)
            var namespace: NetworkNamespace?
            if let descriptor = packet.descriptor?.take() {
                do throws(Errno) {
                    namespace = try NetworkNamespace(adopting: descriptor)
                } catch {
                    throw .unexpected("the descriptor is not a network namespace: \(error)")
                }
            }
            let identity = namespace.map { NamespaceIdentity(device: $0.device, inode: $0.inode) }
            let actions = try client.state.withLock { (state) throws(ZDSError) in
                try state.receive(request, namespace: identity)
            }
            return await perform(actions, namespace: namespace)
        }

        /// `namespace` belongs to the pod that is started, if it is new.
        mutating func perform(_ actions: [ZDSClientState.Action], namespace: NetworkNamespace?) async -> String? {
            var failure: String?
            for action in actions {
                switch action {
                case .stop(let uid):
                    await client.delete(uid)
                    client.logger.info("Pod is no longer served", metadata: ["pod": "\(uid)"])
                case .start(let uid, let info):
                    guard let namespace = namespace ?? namespaces[uid] else { continue }
                    failure = await start(uid, info, namespace) ?? failure
                }
            }
            namespaces = client.state.withLock { state in namespaces.filter { state.isPending($0.key) } }
            return failure
        }

        private mutating func start(_ uid: String, _ info: ZDSWorkloadInfo, _ namespace: NetworkNamespace) async
            -> String?
        {
            do {
                try await client.add(uid, info, namespace)
                client.state.withLock { $0.started(uid) }
                client.logger.info(
                    "Pod is served",
                    metadata: ["pod": "\(uid)", "name": "\(info.namespace)/\(info.name)"])
                return nil
            } catch {
                client.state.withLock { $0.failed(uid, "\(error)", now: .now) }
                namespaces[uid] = namespace
                client.logger.error("Pod cannot be served", metadata: ["pod": "\(uid)", "reason": "\(error)"])
                return "failure to start proxy: \(error)"
            }
        }
    }
}
