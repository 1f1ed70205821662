import IPAddressing
import LinuxNetworking

/// Plain TCP through the proxy: to destinations outside the mesh, and from clients outside it.
///
/// Each direction keeps at most one read's worth of bytes: reading stops until the other side took them.
final class PlainRelay: PodConnection {
    private let pod: PodProxy
    private let worker: Worker
    private let client: RelaySocket
    private let server: RelaySocket
    private var record: ConnectionRecord
    private let opened: ContinuousClock.Instant
    private var isConnected = false
    private var isFinished = false
    private var connectTimer: TimerToken?
    private var idleWatch: IdleWatch?
    private static let readsMax = 16
    static let socketCount = 2
    var account: SocketBudget.Account { pod.account(of: record) }
    var socketCount: Int { PlainRelay.socketCount }
    var heldBytes: Int { client.heldBytes + server.heldBytes }

    /// Takes the accepted connection over and dials `target` inside the pod's network namespace.
    static func start(
        pod: PodProxy, accepted: consuming OwnedDescriptor, to target: SocketAddress,
        options: TCPSocket.ConnectOptions, record: ConnectionRecord
    ) {
        do {
            let dialled = try pod.connect(to: target, options: options)
            PlainRelay(pod: pod, accepted: accepted, dialled: dialled, record: record).start()
        } catch {
            TCPSocket.abort(accepted.raw)
            var record = record
            guard !error.isExhaustion else {
                return pod.refuse(accepted, record, ConnectionFailure(.overload, "\(error)"))
            }
            record.failure = ConnectionFailure(.connect, "connection to \(target) failed: \(error)")
            pod.worker.record(record)
        }
    }

    private init(
        pod: PodProxy, accepted: consuming OwnedDescriptor, dialled: consuming OwnedDescriptor, record: ConnectionRecord
    ) {
        self.pod = pod
        self.record = record
        worker = pod.worker
        opened = pod.worker.loop.now
        client = RelaySocket(pod: pod, descriptor: accepted)
        server = RelaySocket(pod: pod, descriptor: dialled)
        client.relay = self
        server.relay = self
        pod.add(self)
    }

    private func start() {
        let limit = worker.configuration.connectTimeout
        connectTimer = worker.loop.schedule(after: limit) { [weak self] in
            self?.finish(ConnectionFailure(.connect, "connection timed out after \(limit)"), reset: true)
        }
        do {
            try server.register()
            try client.register()
        } catch {
            finish(ConnectionFailure(.overload, "\(error)"), reset: true)
        }
    }

    fileprivate func ready(_ socket: RelaySocket, _ events: IOEvents) -> Bool {
        guard !isConnected else { return true }
        guard socket === server, !events.isDisjoint(with: [.writable, .error, .hangup]) else { return false }
        stopTimer()
        if let error = TCPSocket.pendingError(server.descriptor) {
            let target = record.destination.map { "\($0)" } ?? "the destination"
            finish(ConnectionFailure(.connect, "connection to \(target) failed: \(error)"), reset: true)
            return false
        }
        isConnected = true
        idleWatch = IdleWatch(worker) { [weak self] in
            guard let self else { return 0 }
            return client.bytesRead &+ server.bytesRead &+ client.bytesWritten &+ server.bytesWritten
        } expired: { [weak self] in
            self?.finish($0, reset: true)
        }
        pump(from: client)
        return !isFinished
    }

    /// Moves what can be moved from one side to the other, bounded per turn.
    fileprivate func pump(from source: RelaySocket) {
        guard isConnected, !isFinished else { return }
        let target = source === client ? server : client
        for _ in 0..<PlainRelay.readsMax {
            guard !target.hasPending else { return }
            switch source.read(into: worker.scratch) {
            case .bytes(let count):
                target.write(UnsafeRawBufferPointer(rebasing: worker.scratch[..<count]))
            case .wouldBlock:
                return
            case .end:
                target.writeEnd()
                return finishIfDone()
            case .failed(let code):
                return broke(Errno(code: code, call: "receive"))
            }
            guard !isFinished else { return }
        }
        worker.loop.endOfTurn { [weak self, weak source] in
            if let self, let source { pump(from: source) }
        }
    }

    /// One side took everything: the other may be read again.
    fileprivate func drained(_ socket: RelaySocket) {
        guard !isFinished else { return }
        if socket.hasShutDown { finishIfDone() } else { pump(from: socket === client ? server : client) }
    }

    private func finishIfDone() {
        if client.hasShutDown && server.hasShutDown { finish(nil, reset: false) }
    }

    fileprivate func broke(_ error: Errno) {
        finish(error.isDisconnect ? nil : ConnectionFailure(.reset, "\(error)"), reset: true)
    }

    /// What the pod itself sends is not meant.
    func plaintextRefused(in namespace: String) {
        if record.direction == .inbound { finish(.strict(namespace), reset: true) }
    }

    func drain() {}

    func abort(_ failure: ConnectionFailure) { finish(failure, reset: true) }

    private func finish(_ failure: ConnectionFailure?, reset: Bool) {
        guard !isFinished else { return }
        isFinished = true
        stopTimer()
        idleWatch?.stop()
        let outbound = record.direction == .outbound
        record.bytesSent = outbound ? client.bytesRead : server.bytesRead
        record.bytesReceived = outbound ? client.bytesWritten : server.bytesWritten
        record.duration = opened.duration(to: worker.loop.now)
        record.failure = failure
        client.closeSocket(reset: reset)
        server.closeSocket(reset: reset)
        (client.relay, server.relay) = (nil, nil)
        worker.record(record)
        pod.remove(self)
    }

    private func stopTimer() {
        if let connectTimer { worker.loop.cancel(connectTimer) }
        connectTimer = nil
    }
}

/// Keeps its relay alive until the relay is finished.
private final class RelaySocket: AppSocket {
    var relay: PlainRelay?

    override func ready(_ events: IOEvents) {
        guard !isClosed, let relay, relay.ready(self, events) else { return }
        super.ready(events)
    }

    override func becameReadable() { relay?.pump(from: self) }

    override func wroteAll() { relay?.drained(self) }

    override func broke(_ error: Errno) { relay?.broke(error) }
}
