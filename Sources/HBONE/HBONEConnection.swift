import CNGHTTP2
public import Glibc

/// One TLS 1.3 connection with one HTTP/2 CONNECT session on it, without any I/O: bytes in; hooks and bytes out.
///
/// Subclass it and override the hooks. They are called from inside `receive`, `receiveEnd`, `produce` and `close`, never
/// after `ended`. A hook may call everything here but `receive`, `receiveEnd` and `produce` of the same connection.
/// Confined to one thread, which is also where it is released.
///
/// Read from the socket into `inputRoom` and say so with `receive`; when the socket has no more, `inputDone`. After that, or
/// whatever else you called: while `wantsProduce`, call `produce`; while `hasOutput`, write `withOutput` to the socket and
/// say so with `outputSent`. Output is left to be written after `ended` too: it holds the
/// alert, the GOAWAY or the close_notify that the peer should see.
open class HBONEConnection {
    public final let role: HBONERole
    /// Who the peer is; `nil` until `established`.
    public final private(set) var peer: HBONEPeer?
    /// Why the connection ended; set before the last `closed` hooks, so that these can tell.
    public final private(set) var end: ConnectionEnd?
    /// The peer takes no new streams. Those with a higher ID than the GOAWAY named were closed with REFUSED_STREAM.
    public final internal(set) var goAwayReceived = false
    /// Streams that the subclass knows of and has not seen `closed`.
    public final internal(set) var activeStreams = 0

    let limits: HBONELimits
    let engine: TLSEngine
    let session: OpaquePointer
    var streams: [Int32: HBONEStream] = [:]
    /// The stream of the latest look-up: bulk data comes many frames in a row.
    var latest: HBONEStream?
    var fields: HTTP2FieldBlock

    /// The peer's SETTINGS came.
    var isSettled = false
    /// Inside libssl and nghttp2, which do not like to be entered twice.
    private var isBusy = false
    private var startedHandshake = false
    private(set) var closeRequested = false
    private var peerSentCloseNotify = false
    /// Found while busy; becomes the end once nghttp2 has returned.
    var failure: ConnectionEnd?
    /// The code to tell the peer for that failure.
    var failureCode: UInt32?
    var nghttp2Said: String?
    /// The first plaintext, to tell HTTP/1 from HTTP/2 gone wrong.
    private var opening = HTTP2Opening()
    var idleFrames = 0
    var isDraining = false
    var receivedGoAwayCode: UInt32 = 0

    // Bytes in.
    private var input = InputBuffer()
    var frames: FrameReader
    var delivery = Delivery()
    var receiveWindow: Int
    /// Consumed on any stream, and not yet given back to the peer.
    var unreturned = 0

    // Bytes out.
    var writer = RecordWriter()
    var sendWindow = HBONEConnection.initialWindow
    var peerStreamWindow = HBONEConnection.initialWindow
    var peerFrameMax = 16384
    var ready = ReadyStreams()
    /// The stream whose body is being read.
    var reading: HBONEStream?
    var resumedWhileReading = false
    /// Streams whose window is to be given back.
    var windowUpdates = ContiguousArray<HBONEStream>()
    /// Requests that were reset before their HEADERS left; closed by the next `produce`.
    var cancelled: [(stream: Int32, code: UInt32)] = []

    /// Until SETTINGS say otherwise (RFC 9113 6.9.2).
    static let initialWindow = 65535

    public init(role: HBONERole, context: TLSContext, limits: HBONELimits = HBONELimits()) {
        precondition((role == .server) == (context.role == .server), "a TLS context of the other role")
        self.role = role
        self.limits = limits
        engine = TLSEngine(context: context)
        session = HTTP2Callbacks.makeSession(role: role, limits: limits)
        frames = FrameReader(isServer: role == .server)
        receiveWindow = Int(limits.connectionWindow)
        fields = HTTP2FieldBlock(
            bytesMax: role == .server ? limits.serverHeaderBytesMax : limits.clientHeaderBytesMax,
            fieldsMax: limits.headerFieldsMax)
        nghttp2_session_set_user_data(session, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit { nghttp2_session_del(session) }

    // MARK: Bytes in

    /// Where ciphertext from the socket is to be put: at least a full record. Valid until `receive` or `inputDone`.
    public final var inputRoom: UnsafeMutableRawBufferPointer { input.room }

    /// Takes `count` bytes of ciphertext at the front of `inputRoom`; hooks fire. Ignored after the end.
    public final func receive(_ count: Int) {
        guard end == nil, count > 0 else { return }
        enter()
        engine.provide(input.filled(count))
        startedHandshake = true
        if peer != nil || handshake() { readRecords() }
        input.keep(engine.inputLeft())
        leave()
    }

    /// The socket has no more for now: memory is given back, but for the beginning of a record.
    public final func inputDone() { input.release() }

    /// The peer's TCP connection reached its end of file, or broke.
    public final func receiveEnd() {
        guard end == nil else { return }
        enter()
        if peer == nil {
            failure = .handshakeAbandoned
        } else {
            failure = receivedGoAwayCode == 0 ? .peerClosed : .goAway(code: receivedGoAwayCode)
        }
        leave()
    }

    private func handshake() -> Bool {
        switch engine.handshake() {
        case .needsInput: return false
        case .failed(let end):
            failure = end
            return false
        case .established(let peer):
            self.peer = peer
            established(peer)
            return true
        }
    }

    private func readRecords() {
        // libssl decrypts to other memory, which must outlive what is gathered of it.
        let chunk = engine.readsToScratch ? ChunkPool.take() : nil
        defer { chunk.map(ChunkPool.put) }
        var filled = 0
        while failure == nil, !closeRequested {
            var scratch = UnsafeMutableRawBufferPointer(start: nil, count: 0)
            if let chunk {
                if ChunkPool.chunkSize - filled < RecordCipher.contentMax {
                    deliver()
                    filled = 0
                }
                scratch = UnsafeMutableRawBufferPointer(start: chunk + filled, count: ChunkPool.chunkSize - filled)
            }
            switch engine.read(scratch: scratch) {
            case .plaintext(let content):
                filled += content.count
                readFrames(content)
                continue
            case .needsInput: break
            case .closeNotify: peerSentCloseNotify = true
            case .failed(let end): failure = failure ?? end
            }
            break
        }
        deliver()
    }

    /// Frames for nghttp2, in any pieces.
    final func feed(_ plaintext: UnsafeRawBufferPointer) {
        guard failure == nil else { return }
        opening.note(plaintext)
        let taken = nghttp2_session_mem_recv(
            session, plaintext.baseAddress?.assumingMemoryBound(to: UInt8.self), plaintext.count)
        boundOwedFrames()
        guard taken < 0, failure == nil else { return }
        failure = .http2(explain(Int32(taken)))
        switch taken {
        // The peer does not speak HTTP/2: a GOAWAY would tell it nothing.
        case Int(NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue): break
        case Int(NGHTTP2_ERR_FLOODED.rawValue): failureCode = HTTP2ErrorCode.enhanceYourCalm
        default: failureCode = HTTP2ErrorCode.internalError
        }
    }

    private func explain(_ code: Int32) -> String {
        if code == NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue { return opening.notHTTP2 ?? "bad connection preface" }
        let what = String(cString: nghttp2_strerror(code))
        return nghttp2Said.map { "\(what): \($0)" } ?? what
    }

    // MARK: Bytes out

    /// `produce` would make output: there is something to write, and the pending output is below its bound.
    public final var wantsProduce: Bool {
        guard end == nil else { return false }
        guard peer != nil else { return role == .client && !startedHandshake }
        return engine.output.count < limits.pendingOutputMax && wantsWrite
    }

    /// Makes output up to the bound, pulling bodies with `readBody`.
    public final func produce() {
        guard end == nil else { return }
        enter()
        if peer != nil {
            pump()
        } else if !startedHandshake, role == .client {
            startedHandshake = true
            _ = handshake()
        }
        leave()
    }

    public final var hasOutput: Bool { engine.output.count > 0 }

    /// In bytes; at most the limit's `pendingOutputMax` and a few records more.
    public final var pendingOutput: Int { engine.output.count }

    /// The front of the pending ciphertext, for one vectored write; valid during the call, in which nothing of this
    /// connection may be called.
    public final func withOutput<R>(_ body: (UnsafeMutableBufferPointer<iovec>) -> R) -> R {
        withUnsafeTemporaryAllocation(of: iovec.self, capacity: Self.outputSpansMax) { spans in
            let used = engine.output.front(spans)
            return body(UnsafeMutableBufferPointer(rebasing: spans[..<used]))
        }
    }

    private static let outputSpansMax = 8

    /// So many bytes from the front were written to the socket.
    public final func outputSent(_ count: Int) { engine.output.removeFirst(count) }

    // MARK: The end

    /// GOAWAY and close_notify are queued as output, and the connection ends as `clean`: at once, or, from inside a hook,
    /// when the outermost call returns. Open streams are closed with INTERNAL_ERROR.
    public final func close() {
        guard end == nil, !closeRequested else { return }
        closeRequested = true
        guard !isBusy else { return }
        enter()
        leave()
    }

    private func enter() {
        precondition(!isBusy, "receive, receiveEnd and produce must not be called from inside a hook")
        isBusy = true
    }

    /// Acts on what was found while nghttp2 and libssl were busy.
    private func leave() {
        if let failure {
            if let failureCode { sendFinalGoAway(failureCode) }
            engine.sendCloseNotify()
            finish(failure)
        } else if closeRequested {
            if peer != nil {
                // Answers and resets first: nghttp2 drops them once it is told to terminate.
                pump()
                nghttp2_session_terminate_session(session, HTTP2ErrorCode.noError)
                pump()
                engine.sendCloseNotify()
            }
            finish(.clean)
        } else if peerSentCloseNotify {
            engine.sendCloseNotify()
            finish(receivedGoAwayCode == 0 ? .clean : .goAway(code: receivedGoAwayCode))
        } else if peer != nil, isSessionOver {
            engine.sendCloseNotify()
            finish(receivedGoAwayCode == 0 ? .clean : .goAway(code: receivedGoAwayCode))
        }
        isBusy = false
    }

    /// GOAWAY was sent or received, and the last stream is gone.
    private var isSessionOver: Bool {
        cancelled.isEmpty && writer.isEmpty && nghttp2_session_want_read(session) == 0
            && nghttp2_session_want_write(session) == 0
    }

    private func finish(_ end: ConnectionEnd) {
        self.end = end
        delivery.removeAll()
        ready.removeAll()
        windowUpdates.removeAll()
        for stream in streams.keys.sorted() { didClose(stream, HTTP2ErrorCode.internalError) }
        ended(end)
    }

    // MARK: Hooks

    /// The handshake is done. A client is established before the server has looked at its certificate: the refusal comes
    /// later, as `ended` with the server's alert.
    open func established(_ peer: HBONEPeer) {}
    /// The peer's first SETTINGS came: it speaks HTTP/2.
    open func settled() {}
    /// Server: answer with `accept` or `refuse`, now or later. DATA may come before the answer.
    open func requested(stream: Int32, _ request: ConnectRequest) {}
    /// Server: a request that is no proper CONNECT was refused inside; no other hook will name the stream.
    open func malformedRequest(stream: Int32, reason: String) {}
    /// Client: the final status; 200 opens the stream, any other closes it. `reason` is Culvert's own, if the peer is one.
    open func responded(stream: Int32, status: Int, reason: String?) {}
    /// `count` bytes, in pieces that are valid during the call. Give them back with `consumed` when the application took them.
    open func received(stream: HBONEStream, _ pieces: UnsafeMutableBufferPointer<iovec>, count: Int) {}
    /// The peer will send no more on this stream.
    open func receivedEnd(stream: Int32) {}
    /// Pulls the body: called by `produce` while flow control and the output bound allow. The pieces are to be filled in their
    /// order, each before the next. After `bytes` it is asked again until it is `blocked`.
    open func readBody(stream: HBONEStream, into pieces: UnsafeMutableBufferPointer<iovec>) -> BodyRead { .blocked }
    /// Exactly once for each stream that `connect` made or `requested` named, as its last hook. NO_ERROR: both sides
    /// ended. Bytes received but not consumed by now were given back: a later `consumed` is ignored.
    open func closed(stream: Int32, code: UInt32) {}
    /// The peer sent a PING, which was answered inside.
    open func pinged() {}
    /// The answer to `ping()`.
    open func pongReceived() {}
    open func goneAway(lastStream: Int32, code: UInt32) {}
    /// Exactly once; every stream was `closed` before.
    open func ended(_ end: ConnectionEnd) {}
}
