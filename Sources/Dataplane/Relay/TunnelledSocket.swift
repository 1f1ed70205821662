import Glibc
import HBONE
import LinuxNetworking

/// One application connection carried by one stream of a tunnel.
///
/// Application to peer: the tunnel pulls when flow control has room, straight from the socket. Peer to application:
/// bytes are written at once, and the stream's window is given back only for what the application took, so that a slow
/// reader costs at most one window.
class TunnelledSocket: AppSocket, PodConnection {
    /// Until the stream is closed.
    private(set) var tunnel: TunnelConnection?
    private(set) var stream: Int32 = 0
    private var carrier: HBONEStream?
    var record: ConnectionRecord
    private let opened: ContinuousClock.Instant
    private var streamIsClosed = false
    private var isFinished = false
    private var idleWatch: IdleWatch?
    final var account: SocketBudget.Account { pod.account(of: record) }

    init(pod: PodProxy, descriptor: consuming OwnedDescriptor, record: ConnectionRecord) {
        self.record = record
        opened = pod.worker.loop.now
        super.init(pod: pod, descriptor: descriptor)
        pod.add(self)
    }

    final func carried(by tunnel: TunnelConnection, stream: Int32) {
        streamIsClosed = false
        self.tunnel = tunnel
        self.stream = stream
        carrier = tunnel.attach(self, id: stream)
    }

    /// From now on it may not stay idle for ever, where that is limited.
    final func watchIdleness() {
        idleWatch = IdleWatch(worker) { [weak self] in
            self.map { $0.bytesRead &+ $0.bytesWritten } ?? 0
        } expired: { [weak self] in
            self?.abort($0)
        }
    }

    // MARK: Application to peer

    override func becameReadable() {
        guard let tunnel, let carrier else { return }
        tunnel.resumeBody(carrier)
        tunnel.markDirty()
    }

    /// `false` until the stream carries the body.
    var mayPull: Bool { true }

    func readBody(into pieces: UnsafeMutableBufferPointer<iovec>) -> BodyRead {
        guard mayPull, !isClosed else { return isClosed ? .failed : .blocked }
        switch read(into: pieces) {
        case .bytes(let count):
            return .bytes(count)
        case .wouldBlock:
            return .blocked
        case .end:
            return .end
        case .failed(let code):
            broke(Errno(code: code, call: "receive"))
            return .failed
        }
    }

    // MARK: Peer to application

    final func deliver(_ pieces: UnsafeMutableBufferPointer<iovec>, count: Int) { write(pieces, count: count) }

    /// The stream is open, and known to be to the one who asked for it.
    final var hasAnswer: Bool { carrier?.hasAnswer ?? false }

    final func peerEnded() { writeEnd() }

    override func took(_ count: Int) {
        guard let tunnel, let carrier, !streamIsClosed else { return }
        tunnel.consumed(carrier, count)
        if tunnel.wantsProduce { tunnel.markDirty() }
    }

    /// What was read is in the tunnel, and END_STREAM behind it: the stream closes as soon as these have left.
    override var closesAtEnd: Bool { hasReadEnd }

    override func wroteAll() {
        if streamIsClosed { finish(nil) }
    }

    // MARK: Ends

    override func broke(_ error: Errno) {
        // What ztunnel calls benign: the application reset or left a connection that it was free to leave.
        let failure = error.isDisconnect ? nil : ConnectionFailure(.reset, "\(error)")
        cancelStream()
        finish(failure, reset: true)
    }

    /// The stream's last hook: what it still owed the application is delivered before the socket is closed.
    final func streamClosed(code: UInt32) {
        streamIsClosed = true
        tunnel = nil
        carrier = nil
        if code == HTTP2ErrorCode.refusedStream, startsOver(nil) { return }
        switch code {
        case HTTP2ErrorCode.noError:
            break
        case HTTP2ErrorCode.cancel, HTTP2ErrorCode.connectError:
            // The application at the other end reset its connection: this one learns it by a reset, too.
            return finish(failureOfClosedStream(nil), reset: true)
        default:
            let failure = ConnectionFailure(.reset, "stream reset by the peer: \(HTTP2ErrorCode.name(code))")
            return finish(failureOfClosedStream(failure), reset: true)
        }
        if hasPending { return writeEnd() }
        finish(failureOfClosedStream(nil))
    }

    /// What a stream's end means to a connection that was not established yet.
    func failureOfClosedStream(_ failure: ConnectionFailure?) -> ConnectionFailure? { failure }

    final func tunnelFailed(_ failure: ConnectionFailure) {
        streamIsClosed = true
        tunnel = nil
        carrier = nil
        if !startsOver(failure) { finish(failure, reset: true) }
    }

    /// Asked when the stream was lost without an answer, or its tunnel with it; `true` when it will be carried by another.
    func startsOver(_ failure: ConnectionFailure?) -> Bool { false }

    final func cancelStream() {
        guard let tunnel, !streamIsClosed else { return }
        streamIsClosed = true
        self.tunnel = nil
        carrier = nil
        tunnel.reset(stream: stream, code: HTTP2ErrorCode.cancel)
        tunnel.detach(id: stream)
        tunnel.markDirty()
    }

    func drain() {}

    final func abort(_ failure: ConnectionFailure) {
        cancelStream()
        finish(failure, reset: true)
    }

    /// Closes the application's socket and writes the record; once.
    final func finish(_ failure: ConnectionFailure?, reset: Bool = false) {
        guard !isFinished else { return }
        isFinished = true
        idleWatch?.stop()
        closeSocket(reset: reset)
        record.failure = failure
        record.duration = opened.duration(to: worker.loop.now)
        (record.bytesSent, record.bytesReceived) = (bytesRead, bytesWritten)
        worker.record(record)
        finished()
        pod.remove(self)
    }

    func finished() {}
}
