import Glibc
public import LinuxNetworking
public import Logging
import Synchronization

/// Tells the node's proxy which pods it serves and hands it their network namespaces (ZDS, the server's side).
///
/// Safe to use from any thread. Pods may come and go before, during and after `run`.
public final class ZDSServer: Sendable {
    /// What a proxy said of a pod: `error` nil when it serves the pod, or has let go of a removed one.
    public typealias Acknowledged = @Sendable (_ uid: String, _ error: String?) -> Void

    /// Why this proxy is to be given no pods; nil when it may have them. Asked when it connects, and every second.
    public typealias Refusal = @Sendable (PeerCredentials) -> String?

    /// Who has connected, and did not leave.
    public struct Client: Hashable, Sendable {
        public let pid: Int32
        public let refusal: String?
    }

    /// Between two accepted connections, as istio-cni: a proxy in a crash loop does not keep the node busy.
    private static let acceptInterval = Duration.milliseconds(200)

    private struct State {
        var core = ZDSServerState()
        var namespaces: [String: NetworkNamespace] = [:]
        var wakeUps: [ZDSServerState.ConnectionID: AsyncStream<Void>.Continuation] = [:]
        var peers: [ZDSServerState.ConnectionID: PeerCredentials] = [:]
        /// The last one refused; nil once a proxy was accepted after it.
        var refused: Client?
    }

    private let listener: SeqpacketListener
    private let state = Mutex(State())
    private let logger: Logger
    private let onAcknowledged: Acknowledged
    private let refusal: Refusal

    /// Makes the socket; only root and the owner of this process are served on it.
    public init(
        path: String, logger: Logger, onAcknowledged: @escaping Acknowledged = { _, _ in },
        refusal: @escaping Refusal = { _ in nil }
    ) throws(Errno) {
        listener = try SeqpacketListener(path: path)
        self.logger = logger
        self.onAcknowledged = onAcknowledged
        self.refusal = refusal
    }

    /// Proxies connected at the moment.
    public var connectionCount: Int { state.withLock { $0.core.connectionCount } }

    /// A connected proxy has said that it serves this pod.
    public func isServed(uid: String) -> Bool { state.withLock { $0.core.isServed(uid: uid) } }

    /// In the order in which they came; at the end the last one that was refused.
    public var clients: [Client] {
        state.withLock { state in
            state.peers.sorted { $0.key < $1.key }.map { Client(pid: $0.value.pid, refusal: nil) }
                + [state.refused].compactMap { $0 }
        }
    }

    /// Every connected proxy has heard of all pods and removals, and has answered.
    public var isSettled: Bool { state.withLock { $0.core.isSettled } }

    /// The proxy is to serve this pod; one of the same uid is replaced. Throws when the pod does not fit the protocol.
    public func add(uid: String, info: ZDSWorkloadInfo, namespace: NetworkNamespace) throws(ZDSError) {
        try state.withLock { (state) throws(ZDSError) in
            try state.core.add(uid: uid, info)
            state.namespaces[uid] = namespace
        }
        wakeAll()
    }

    /// The proxy is to stop serving this pod.
    public func delete(uid: String) {
        state.withLock { state in
            state.core.delete(uid: uid)
            state.namespaces[uid] = nil
        }
        wakeAll()
    }

    private func wakeAll() {
        for wakeUp in state.withLock({ Array($0.wakeUps.values) }) { wakeUp.yield() }
    }

    /// Accepts proxies until the task is cancelled.
    public func run() async throws(Errno) {
        let failure: Errno? = await withDiscardingTaskGroup { group in
            defer { group.cancelAll() }
            while true {
                do throws(Errno) {
                    let socket = try await listener.accept()
                    group.addTask { await self.serve(socket) }
                } catch {
                    if error.code == ECANCELED { return nil }
                    guard error.isExhaustion else { return error }
                    logger.warning("ZDS cannot accept a connection", metadata: ["reason": "\(error)"])
                }
                try? await Task.sleep(for: Self.acceptInterval)
            }
        }
        if let failure { throw failure }
    }
}

// MARK: - One connection

extension ZDSServer {
    private func serve(_ socket: SeqpacketSocket) async {
        defer { socket.close() }
        do {
            let peer = try socket.peerCredentials()
            guard peer.uid == 0 || peer.uid == geteuid() else {
                logger.warning("ZDS client refused: not ours", metadata: ["uid": "\(peer.uid)", "pid": "\(peer.pid)"])
                return
            }
            if let reason = refusal(peer) { return refuse(peer, reason) }
            let (wakeUps, wakeUp) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
            let opened: ZDSServerState.ConnectionID? = state.withLock { state in
                let id = state.core.connect(now: .now)
                if let id {
                    state.wakeUps[id] = wakeUp
                    state.peers[id] = peer
                    state.refused = nil
                }
                return id
            }
            guard let id = opened else {
                logger.warning("ZDS client refused: too many", metadata: ["limit": "\(ZDSServerState.connectionsMax)"])
                return
            }
            defer { close(id) }
            logger.info("ZDS client connected", metadata: ["connection": "\(id)", "pid": "\(peer.pid)"])
            let reason = await converse(socket, id, peer, wakeUps, wakeUp)
            logger.info("ZDS client disconnected", metadata: ["connection": "\(id)", "reason": "\(reason)"])
        } catch {
            logger.warning("ZDS client lost", metadata: ["reason": "\(error)"])
        }
    }

    /// The same for the same proxy again and again is one piece of news.
    private func refuse(_ peer: PeerCredentials, _ reason: String) {
        let client = Client(pid: peer.pid, refusal: reason)
        let isNews = state.withLock { state in
            defer { state.refused = client }
            return state.refused != client
        }
        logger.log(
            level: isNews ? .error : .debug, "ZDS client refused: it is given no pods",
            metadata: ["pid": "\(peer.pid)", "reason": "\(reason)"])
    }

    private func close(_ id: ZDSServerState.ConnectionID) {
        state.withLock { state in
            state.core.disconnect(id)
            state.wakeUps[id] = nil
            state.peers[id] = nil
        }
        // Another connection may be the newest now, and owe additions.
        wakeAll()
    }

    /// Reads, writes and watches the clock until one of the three finds an end; says which.
    private func converse(
        _ socket: SeqpacketSocket, _ id: ZDSServerState.ConnectionID, _ peer: PeerCredentials,
        _ wakeUps: AsyncStream<Void>, _ wakeUp: AsyncStream<Void>.Continuation
    ) async -> String {
        await withTaskGroup(of: String.self) { group in
            group.addTask { await self.read(socket, id, wakeUp) }
            group.addTask { await self.write(socket, id, wakeUps) }
            group.addTask { await self.watch(id, peer) }
            let reason = await group.next() ?? ""
            group.cancelAll()
            return reason
        }
    }

    private func read(
        _ socket: SeqpacketSocket, _ id: ZDSServerState.ConnectionID, _ wakeUp: AsyncStream<Void>.Continuation
    ) async -> String {
        do {
            while let packet = try await socket.receive() {
                guard packet.descriptor == nil else { return "it passed a descriptor" }
                let received = try state.withLock { state in try state.core.receive(packet.bytes, from: id) }
                if case .acknowledged(let uid?, let error) = received {
                    if let error {
                        logger.error("The proxy cannot serve a pod", metadata: ["pod": "\(uid)", "reason": "\(error)"])
                    }
                    onAcknowledged(uid, error)
                }
                wakeUp.yield()
            }
            return "it closed the connection"
        } catch {
            return "\(error)"
        }
    }

    private func write(
        _ socket: SeqpacketSocket, _ id: ZDSServerState.ConnectionID, _ wakeUps: AsyncStream<Void>
    ) async -> String {
        do {
            for await _ in wakeUps {
                let (request, namespace) = state.withLock { state in
                    let request = state.core.next(for: id, now: .now)
                    return (request, request?.uid.flatMap { state.namespaces[$0] })
                }
                guard let request else { continue }
                let deadline = ContinuousClock.now + ZDSServerState.acknowledgementTimeout
                let packet = try ZDSMessage.encode(request)
                if case .add = request {
                    // Held across the call: the descriptor must stay open until the kernel has taken it.
                    guard let namespace else { return "a pod lost its namespace" }
                    try await socket.send(packet, passing: namespace.descriptor, deadline: deadline)
                    withExtendedLifetime(namespace) {}
                } else {
                    try await socket.send(packet, deadline: deadline)
                }
            }
            return "the agent stops"
        } catch {
            return "\(error)"
        }
    }

    private func watch(_ id: ZDSServerState.ConnectionID, _ peer: PeerCredentials) async -> String {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            // It may have moved since.
            if let reason = refusal(peer) {
                refuse(peer, reason)
                return "it is refused"
            }
            if state.withLock({ $0.core.isOverdue(id, now: .now) }) {
                return "no answer within \(ZDSServerState.acknowledgementTimeout)"
            }
        }
        return "the agent stops"
    }
}
