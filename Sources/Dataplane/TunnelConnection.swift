import Glibc
import HBONE
import LinuxNetworking
import SPIFFE

/// An HBONE connection on its TCP socket: reads feed the protocol, the protocol's output is written once a turn.
///
/// `ClientTunnel` and `InboundTunnel` add what the two ends do differently.
class TunnelConnection: HBONEConnection, PodConnection {
    unowned let pod: PodProxy
    unowned let worker: Worker
    private let socket: TunnelSocket
    private(set) var streams: [Int32: TunnelledSocket] = [:]
    private var isWritable = true
    private var sawPeerClose = false
    /// Nothing that is sent arrives any more.
    private var isBroken = false
    /// There is more to read than was polite in one turn.
    private var mustReadOn = false
    private var isClosed = false
    /// FIN was sent.
    private var isFinished = false
    private var handshakeTimer: TimerToken?
    private var headerTimer: TimerToken?
    private var idleTimer: TimerToken?
    private var pingTimer: TimerToken?
    private var lingerTimer: TimerToken?
    private var hasHeardPeer = true
    private var lastHeard: ContinuousClock.Instant?
    private var waitsForPeerSince: ContinuousClock.Instant?
    private var pings: Allowance
    private var sentBytes: UInt64 = 0
    private var sentBytesAtCheck: UInt64 = 0
    private var unreadSince: ContinuousClock.Instant?
    /// Since when there was more to send, at the end of each turn, than the socket took.
    private var blockedSince: ContinuousClock.Instant?
    /// Memory of what the socket did not take, in bytes.
    private(set) var heldBytes = 0
    private(set) var isDraining = false
    /// By what the peer proved who it is; `nil` until it did.
    private(set) var proof: PeerProof?
    private let ownSigners: [String]
    /// The keys that it depends on: whoever signed a certificate of either end's chain. None until the peer has shown its own.
    private(set) lazy var signers = Set(ownSigners + X509SVID.signers(ofChainDER: proof?.chainDER ?? []))
    /// Why the peer is trusted no longer.
    private(set) var distrustReason: ConnectionFailure?
    private var distrustTimer: TimerToken?
    private let trustAtStart: ObjectIdentifier?
    /// Reads of one event; a tunnel with more to say gets another turn.
    private static let readsMax = 16

    init(
        pod: PodProxy, role: HBONERole, contexts: IdentityContexts, limits: HBONELimits,
        descriptor: consuming OwnedDescriptor
    ) {
        self.pod = pod
        ownSigners = contexts.signers
        worker = pod.worker
        pings = Allowance(at: pod.worker.loop.now)
        trustAtStart = pod.worker.trustGeneration
        socket = TunnelSocket(descriptor: descriptor.release())
        super.init(
            role: role, context: role == .client ? contexts.client : contexts.server, limits: limits)
        socket.tunnel = self
        pod.add(self)
    }

    /// Registers the socket and starts the clock of the handshake.
    final func start() {
        do {
            try worker.loop.register(socket, [.readable, .writable, .peerClosed])
        } catch {
            return fail(ConnectionFailure(.overload, "\(error)"))
        }
        let limit = worker.configuration.handshakeTimeout
        handshakeTimer = worker.loop.schedule(after: limit) { [weak self] in
            self?.fail(ConnectionFailure(.timeout, "TLS and HTTP/2 were not set up within \(limit)"))
        }
    }

    // MARK: Socket events

    fileprivate final func ready(_ events: IOEvents) {
        guard !isClosed else { return }
        if isConnecting {
            guard connected(events) else { return }
        }
        if events.contains(.writable) { isWritable = true }
        if !events.isDisjoint(with: [.peerClosed, .hangup, .error]) { sawPeerClose = true }
        if !events.isDisjoint(with: [.readable, .peerClosed, .hangup, .error]) { read() }
        markDirty()
    }

    /// `true` while the TCP connection is being made.
    var isConnecting: Bool { false }

    /// The outcome of connect(2) is known.
    func connected(_ events: IOEvents) -> Bool { true }

    final var pendingError: Errno? { TCPSocket.pendingError(socket.descriptor) }

    private func read() {
        defer {
            inputDone()
            watchHeader()
        }
        for _ in 0..<TunnelConnection.readsMax {
            guard !isClosed, end == nil else { return }
            // Those who hold too much are cut at the end of the turn: until then nobody gets more.
            guard !worker.bounds.memory.isOver else { break }
            let room = inputRoom
            switch TCPSocket.receive(socket.descriptor, into: room) {
            case .bytes(let count):
                hasHeardPeer = true
                lastHeard = worker.loop.now
                receive(count)
                // The socket is empty: what comes now is another event, unless the end has come already.
                if count < room.count, !sawPeerClose { return }
            case .wouldBlock: return
            case .end: return receiveEnd()
            case .failed(let code): return fail(ConnectionFailure(.reset, "\(Errno(code: code, call: "receive"))"))
            }
        }
        mustReadOn = true
        markDirty()
    }

    // MARK: Output

    /// Sends what the tunnel has to say once, at the end of the turn: the small writes of many streams become one.
    final func markDirty() {
        guard !isClosed else { return }
        worker.loop.endOfTurn(socket)
    }

    fileprivate final func flush() {
        guard !isClosed, !isConnecting else { return }
        if mustReadOn {
            mustReadOn = false
            read()
            guard !isClosed else { return }
        }
        repeat {
            produce()
            drainOutput()
        } while isWritable && !isClosed && wantsProduce
        noteOutput()
        guard let end, !isClosed else { return }
        if end == .clean, !isBroken { linger() } else { dispose() }
    }

    /// What the last streams said has yet to reach the peer, which is given time to take it, though not for ever. Until it closes, too,
    /// what it says is read and thrown away: a socket that is closed under it would answer with RST, and lose what is on its way.
    private func linger() {
        if lingerTimer == nil {
            let limit = worker.configuration.pingTimeout
            lingerTimer = worker.loop.schedule(after: limit) { [weak self] in self?.dispose() }
        }
        guard !hasOutput else { return }
        if !isFinished {
            isFinished = true
            TCPSocket.shutdownWrite(socket.descriptor)
        }
        discardInput()
    }

    private func discardInput() {
        defer { inputDone() }
        for _ in 0..<TunnelConnection.readsMax {
            switch TCPSocket.receive(socket.descriptor, into: inputRoom) {
            case .bytes: continue
            case .wouldBlock: return
            case .end, .failed: return dispose()
            }
        }
        markDirty()
    }

    private func drainOutput() {
        while isWritable, hasOutput {
            var offered = 0
            let result = withOutput { pieces in
                offered = pieces.reduce(0) { $0 &+ $1.iov_len }
                return TCPSocket.send(socket.descriptor, pieces)
            }
            switch result {
            case .bytes(let count):
                outputSent(count)
                sentBytes &+= UInt64(count)
                if count < offered { isWritable = false }
            case .wouldBlock, .end: isWritable = false
            case .failed(let code): return sendFailed(Errno(code: code, call: "send"))
            }
        }
    }

    /// What the peer said before it went is heard first: requests beyond its GOAWAY begin again elsewhere.
    private func sendFailed(_ error: Errno) {
        (isWritable, isBroken) = (false, true)
        repeat {
            mustReadOn = false
            read()
        } while mustReadOn && !isClosed && end == nil && !worker.bounds.memory.isOver
        if end == nil { fail(ConnectionFailure(.reset, "\(error)")) }
    }

    private func noteOutput() {
        guard !isClosed else { return }
        let isBlocked = hasOutput || isWindowExhausted
        if !isBlocked { blockedSince = nil } else if blockedSince == nil { blockedSince = worker.loop.now }
        holds(hasOutput ? outputFootprint : 0)
    }

    private func holds(_ bytes: Int) {
        guard bytes != heldBytes else { return }
        worker.bounds.holdsMore(bytes - heldBytes)
        heldBytes = bytes
    }

    /// What it carries is more than its TCP connection or its peer takes: another stream would only share that.
    final var isSaturated: Bool {
        blockedSince.map { $0.duration(to: worker.loop.now) >= TunnelConnection.saturationTime } ?? false
    }

    private static let saturationTime: Duration = .milliseconds(100)

    // MARK: Streams

    /// Returns the stream, which must be open.
    final func attach(_ socket: TunnelledSocket, id: Int32) -> HBONEStream? {
        stopIdling()
        streams[id] = socket
        let stream = stream(id)
        stream?.owner = socket
        return stream
    }

    final func detach(id: Int32) {
        stream(id)?.owner = nil
        streams[id] = nil
        idleIfUnused()
    }

    /// A tunnel without streams ends: at once when it is drained, else when it was not needed for a while.
    final func idleIfUnused() {
        guard streams.isEmpty, peer != nil, end == nil, !isClosed else { return }
        guard !isDraining else { return closeIdle() }
        stopIdling()
        idleTimer = worker.loop.schedule(after: worker.configuration.idleTunnelTimeout) { [weak self] in
            self?.closeIdle()
        }
    }

    final func endIfIdle() {
        if isFinished { dispose() } else if idleTimer != nil { closeIdle() }
    }

    private func closeIdle() {
        guard end == nil, !isClosed else { return }
        close()
        markDirty()
    }

    final func stopIdling() {
        if let idleTimer { worker.loop.cancel(idleTimer) }
        idleTimer = nil
    }

    override func received(stream: HBONEStream, _ pieces: UnsafeMutableBufferPointer<iovec>, count: Int) {
        socket(of: stream)?.deliver(pieces, count: count)
    }

    override func receivedEnd(stream: Int32) {
        streams[stream]?.peerEnded()
    }

    override func readBody(stream: HBONEStream, into pieces: UnsafeMutableBufferPointer<iovec>) -> BodyRead {
        socket(of: stream)?.readBody(into: pieces) ?? .failed
    }

    /// Every stream's owner is one, or nobody any more.
    private func socket(of stream: HBONEStream) -> TunnelledSocket? {
        guard let owner = stream.owner else { return nil }
        return unsafeDowncast(owner, to: TunnelledSocket.self)
    }

    override func closed(stream: Int32, code: UInt32) {
        guard let socket = streams[stream] else { return }
        detach(id: stream)
        if let end { socket.tunnelFailed(ConnectionFailure(end)) } else { socket.streamClosed(code: code) }
    }

    // MARK: Life

    override func established(_ peer: HBONEPeer) {
        proof = PeerProof(peer)
        if worker.trustGeneration != trustAtStart { worker.verifyAgain(self) }
        idleIfUnused()
        listenForPeer()
    }

    override func settled() { cancelHandshakeTimer() }

    /// A header block stops everything else on the connection until it is complete.
    private func watchHeader() {
        let isWaiting = isInHeaderBlock && end == nil && !isClosed
        guard isWaiting != (headerTimer != nil) else { return }
        if let headerTimer {
            worker.loop.cancel(headerTimer)
            self.headerTimer = nil
        } else {
            let limit = worker.configuration.headerTimeout
            headerTimer = worker.loop.schedule(after: limit) { [weak self] in
                self?.fail(ConnectionFailure(.timeout, "a header block was not complete within \(limit)"))
            }
        }
    }

    var account: SocketBudget.Account { pod.account(nil) }

    override func pinged() {
        let rate = worker.configuration.limits.pings
        guard !pings.isUsedUp(at: worker.loop.now, rate) else {
            return cutOff(because: "too many PINGs", code: HTTP2ErrorCode.enhanceYourCalm)
        }
        pings.take(at: worker.loop.now, rate)
    }

    // MARK: Liveness

    /// TCP alone notices after half an hour that a node is gone, and until then every new connection would join the dead tunnel.
    private func listenForPeer() {
        pingTimer = worker.loop.schedule(after: worker.configuration.pingInterval) { [weak self] in self?.checkPeer() }
    }

    private func checkPeer() {
        guard !isClosed, end == nil else { return }
        if hasOutput, sentBytes == sentBytesAtCheck {
            let since = unreadSince ?? worker.loop.now
            unreadSince = since
            let silence = since.duration(to: worker.loop.now)
            guard silence < worker.configuration.pingTimeout else {
                return fail(ConnectionFailure(.timeout, "the peer has read nothing for \(silence)"))
            }
        } else {
            unreadSince = nil
        }
        sentBytesAtCheck = sentBytes
        if hasHeardPeer {
            waitsForPeerSince = nil
        } else if let since = waitsForPeerSince {
            let silence = since.duration(to: worker.loop.now)
            guard silence < worker.configuration.pingTimeout else {
                return fail(ConnectionFailure(.timeout, "the peer has not answered for \(silence)"))
            }
        } else {
            waitsForPeerSince = worker.loop.now
            ping()
            markDirty()
        }
        hasHeardPeer = false
        listenForPeer()
    }

    /// The peer was there a moment ago: what is sent to it will most likely arrive.
    final var wasHeardLately: Bool {
        lastHeard.map { $0.duration(to: worker.loop.now) < worker.configuration.earlyDataPeriod } ?? false
    }

    /// Nothing came since the peer was asked: new connections had better not rely on it.
    final var isSilent: Bool { waitsForPeerSince != nil && !hasHeardPeer }

    private func cancelHandshakeTimer() {
        if let handshakeTimer { worker.loop.cancel(handshakeTimer) }
        handshakeTimer = nil
    }

    override func ended(_ end: ConnectionEnd) {
        cancelHandshakeTimer()
        markDirty()
    }

    /// Ends the connection for a reason of ours or of the kernel's: streams are cut, the socket is closed.
    func fail(_ failure: ConnectionFailure) {
        guard !isClosed else { return }
        for (id, stream) in streams {
            streams[id] = nil
            stream.tunnelFailed(failure)
        }
        dispose()
    }

    /// The peer is told to open no more streams here; the tunnel ends with its last one.
    func drain() {
        guard !isDraining else { return }
        isDraining = true
        sendGoAway()
        markDirty()
        idleIfUnused()
    }

    final func abort(_ failure: ConnectionFailure) { fail(failure) }

    /// Takes no new streams from or for the peer; what it carries has a grace to end, and then is cut.
    final func distrust(_ refusal: PeerRefusal) {
        guard !isClosed, end == nil, distrustReason == nil else { return }
        let failure = ConnectionFailure(.revoked, "the peer is trusted no longer: \(refusal)")
        distrustReason = failure
        var record = tunnelRecord()
        record.failure = failure
        worker.record(record)
        distrustTimer = worker.loop.schedule(after: worker.configuration.distrustGrace) { [weak self] in
            self?.fail(failure)
        }
        drain()
    }

    /// A record of the tunnel itself.
    func tunnelRecord() -> ConnectionRecord {
        pod.newRecord(role == .server ? .inbound : .outbound, .mutualTLS, source: nil)
    }

    private func dispose() {
        guard !isClosed else { return }
        isClosed = true
        cancelHandshakeTimer()
        stopIdling()
        if let headerTimer { worker.loop.cancel(headerTimer) }
        if let distrustTimer { worker.loop.cancel(distrustTimer) }
        holds(0)
        if let pingTimer { worker.loop.cancel(pingTimer) }
        if let lingerTimer { worker.loop.cancel(lingerTimer) }
        worker.loop.deregister(socket)
        _ = OwnedDescriptor(adopting: socket.descriptor)
        socket.descriptor = -1
        socket.tunnel = nil
        for (id, stream) in streams {
            streams[id] = nil
            stream.tunnelFailed(ConnectionFailure(.reset, "the tunnel was closed"))
        }
        disposed()
        pod.remove(self)
    }

    /// The socket is closed; nothing more will happen.
    func disposed() {}
}

extension ConnectionFailure {
    /// What the end of a tunnel means to the streams that it cut.
    init(_ end: ConnectionEnd) {
        switch end {
        case .tls, .peerRefused, .alpn, .handshakeAbandoned: self.init(.tls, end.description)
        case .http2, .goAway: self.init(.http2, end.description)
        case .clean, .peerClosed: self.init(.reset, "tunnel: \(end.description)")
        }
    }
}

/// Keeps its tunnel alive until the tunnel is disposed of.
private final class TunnelSocket: Pollable {
    var tunnel: TunnelConnection?

    override func ready(_ events: IOEvents) { tunnel?.ready(events) }

    override func turnEnded() { tunnel?.flush() }
}
