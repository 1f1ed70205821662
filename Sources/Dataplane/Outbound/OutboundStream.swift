import Glibc
import HBONE
import IPAddressing
import LinuxNetworking

/// A captured connection on its way through a tunnel: CONNECT, the answer, then bytes both ways.
final class OutboundStream: TunnelledSocket {
    private enum Phase {
        case requested
        case open
        case refused(ConnectionFailure)
    }

    private let key: TunnelPool.Key
    private var phase = Phase.requested
    private var responseTimer: TimerToken?
    private weak var opening: ClientTunnel?
    /// Where it waits for a stream to end.
    private var queue: TunnelGroup?
    /// It was asked for on a tunnel that had served others: what failed may be that tunnel, not the peer.
    private var isOnPooledTunnel = false
    private var startsLeft = 4
    /// The peer was there a moment ago: what the application says first goes along with CONNECT, and saves a round trip.
    var mayTalkEarly = false
    /// What went before the answer, and how much of it on the present stream: it is said again where the peer has not seen it.
    private var early: [UInt8] = []
    private var earlySent = 0

    init(pod: PodProxy, descriptor: consuming OwnedDescriptor, record: ConnectionRecord, key: TunnelPool.Key) {
        self.key = key
        super.init(pod: pod, descriptor: descriptor, record: record)
    }

    func start(contexts: IdentityContexts) {
        do {
            try register()
        } catch {
            return abort(ConnectionFailure(.overload, "\(error)"))
        }
        let limit = worker.configuration.connectTimeout + worker.configuration.responseTimeout
        responseTimer = worker.loop.schedule(after: limit) { [weak self] in
            guard let self else { return }
            let text = queue == nil ? "no answer to CONNECT" : "no stream to \(key.endpoint) became free"
            abort(ConnectionFailure(.timeout, "\(text) within \(limit)"))
        }
        open(contexts)
    }

    private func open(_ contexts: IdentityContexts) {
        do {
            try pod.pool.carry(self, to: key, contexts: contexts)
        } catch {
            abort(error)
        }
    }

    func join(_ tunnel: ClientTunnel) {
        if let peer = tunnel.peer { record.destinationIdentity = peer.id }
        isOnPooledTunnel = tunnel.peer != nil
        opening = tunnel
        tunnel.open(self)
    }

    func wait(in queue: TunnelGroup) { self.queue = queue }

    /// There is room for it now; it waits no more.
    func goOn() {
        queue = nil
        guard !pod.isDraining, let contexts = worker.contexts(for: pod.pod.identity) else {
            return abort(ConnectionFailure(.drained, "no new connections are made for the pod"))
        }
        open(contexts)
    }

    /// Once, and only before the answer. What the application said may not be said twice: it is repeated only where the peer
    /// promised that it has not looked at it (REFUSED_STREAM, and beyond a GOAWAY: RFC 9113 8.7), which is no failure.
    override func startsOver(_ failure: ConnectionFailure?) -> Bool {
        guard case .requested = phase, isOnPooledTunnel || failure == nil, startsLeft > 0, failure?.kind != .drained,
            !pod.isDraining,
            failure == nil || early.isEmpty, let contexts = worker.contexts(for: pod.pod.identity)
        else { return false }
        // A tunnel that died is replaced once; a peer that is handing over may refuse by several tunnels in turn.
        startsLeft = failure == nil ? startsLeft - 1 : 0
        earlySent = 0
        // Not from inside the tunnel that is just being taken apart.
        worker.loop.endOfTurn { [weak self] in
            guard let self, !isClosed else { return }
            open(contexts)
        }
        return true
    }

    var request: ConnectRequest {
        var request = ConnectRequest(authority: record.authority ?? "")
        request.baggage = pod.baggage
        if let source = record.source {
            let host = record.destinationService.map { ";host=\($0)" } ?? ""
            request.forwarded = "for=\"\(source)\"\(host)"
        }
        request.traceparent = traceparent
        return request
    }

    /// W3C trace context, not sampled: one random identifier per connection.
    private var traceparent: String {
        let words = (worker.nextRandom(), worker.nextRandom(), worker.nextRandom())
        return String(unsafeUninitializedCapacity: 55) { text in
            var count = 0
            func put(_ literal: StaticString) {
                literal.withUTF8Buffer { for byte in $0 { text[count] = byte; count += 1 } }
            }
            func put(_ word: UInt64) {
                for shift in stride(from: 60, through: 0, by: -4) {
                    let digit = UInt8(truncatingIfNeeded: word >> UInt64(shift)) & 15
                    text[count] = digit < 10 ? 0x30 + digit : 0x57 + digit
                    count += 1
                }
            }
            put("00-")
            put(words.0)
            put(words.1)
            put("-")
            put(words.2)
            put("-00")
            return count
        }
    }

    override func readBody(into pieces: UnsafeMutableBufferPointer<iovec>) -> BodyRead {
        if earlySent < early.count { return .bytes(repeatEarly(into: pieces)) }
        if case .open = phase { return super.readBody(into: pieces) }
        // One read: the rest can wait, and so can the end.
        guard mayTalkEarly, early.isEmpty else { return .blocked }
        let read = super.readBody(into: pieces)
        switch read {
        case .bytes(let count):
            keepEarly(pieces, count: count)
            return read
        case .end: return .blocked
        case .blocked, .failed: return read
        }
    }

    private func keepEarly(_ pieces: UnsafeMutableBufferPointer<iovec>, count: Int) {
        early.reserveCapacity(count)
        for piece in pieces where early.count < count {
            let bytes = UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
            early.append(contentsOf: bytes.prefix(count - early.count))
        }
        earlySent = early.count
    }

    private func repeatEarly(into pieces: UnsafeMutableBufferPointer<iovec>) -> Int {
        var copied = 0
        early.withUnsafeBytes { early in
            for piece in pieces where earlySent < early.count {
                let bytes = early[earlySent...].prefix(piece.iov_len)
                UnsafeMutableRawBufferPointer(start: piece.iov_base, count: piece.iov_len).copyBytes(from: bytes)
                earlySent += bytes.count
                copied += bytes.count
            }
        }
        return copied
    }

    func answered(status: Int, reason: String?) {
        stopTimer()
        record.tlsVersion = tunnel?.peer?.tlsVersion
        record.cipher = tunnel?.peer?.cipher
        guard status == 200 else {
            let text = "http status: \(status)" + (reason.map { " (\($0))" } ?? "")
            let failure = ConnectionFailure(status == 401 ? .denied : .connect, text)
            phase = .refused(failure)
            return abort(failure)
        }
        phase = .open
        // All of it has been sent, unless a stream that took its place has had no window: then it is still to be said.
        if earlySent == early.count { (early, earlySent) = ([], 0) }
        watchIdleness()
        becameReadable()
    }

    override func failureOfClosedStream(_ failure: ConnectionFailure?) -> ConnectionFailure? {
        switch phase {
        case .requested: failure ?? ConnectionFailure(.http2, "the peer closed the stream without an answer")
        case .open: failure
        case .refused(let refusal): refusal
        }
    }

    override func broke(_ error: Errno) {
        opening?.giveUp(self)
        super.broke(error)
    }

    override func finished() {
        stopTimer()
        opening?.giveUp(self)
        queue?.giveUp(self)
        queue = nil
    }

    private func stopTimer() {
        if let responseTimer { worker.loop.cancel(responseTimer) }
        responseTimer = nil
    }
}
