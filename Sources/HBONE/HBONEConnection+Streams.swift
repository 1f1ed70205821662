import CNGHTTP2

// What the subclass may ask for. Each of these only queues: nghttp2 writes when `produce` is called.
extension HBONEConnection {
    /// Client: opens a stream and returns its ID; negative if the connection cannot take one now: it ended, is going
    /// away, has `streamsMax` of them, or the authority is no proper one. Legal before the handshake is done.
    public final func connect(_ request: ConnectRequest) -> Int32 {
        guard role == .client, end == nil, !goAwayReceived, !isDraining, activeStreams < streamsMax,
            ConnectRequest.isAuthority(request.authority.utf8)
        else { return -1 }
        var provider = HTTP2Callbacks.dataProvider
        let id = HTTP2Fields.request(request).withFields { fields, count in
            nghttp2_submit_request(session, nil, fields, count, &provider, nil)
        }
        guard id > 0 else { return id < 0 ? id : -1 }
        add(newStream(id, isReported: true, isOpened: false))
        return id
    }

    /// The stream, until it is closed.
    public final func stream(_ id: Int32) -> HBONEStream? { find(id) }

    /// What the peer announced; 100 until its SETTINGS came, as nghttp2 and h2 assume.
    public final var peerMaxConcurrentStreams: Int {
        Int(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
    }

    /// Client: streams that `connect` opens at once on this connection.
    public final var streamsMax: Int { min(peerMaxConcurrentStreams, Int(limits.maxConcurrentStreams)) }

    /// Server: answers 200, and the body may go.
    public final func accept(stream id: Int32) {
        guard let stream = answerable(id) else { return }
        stream.isAnswered = true
        stream.isAccepted = true
        var provider = HTTP2Callbacks.dataProvider
        let submitted = HTTP2Fields.response(status: 200).withFields { fields, count in
            nghttp2_submit_response(session, id, fields, count, &provider)
        }
        if submitted != 0 { reset(stream: id, code: HTTP2ErrorCode.internalError) }
    }

    /// Server: answers with another status and ends the stream; the reason (printable ASCII, at most 256 bytes) goes
    /// along as `x-culvert-reason`. What the peer still sends is dropped.
    public final func refuse(stream id: Int32, status: Int, reason: String) {
        precondition(100...999 ~= status && status != 200, "not the status of a refusal: \(status)")
        guard let stream = answerable(id) else { return }
        stream.isAnswered = true
        stream.isMuted = true
        stream.resetAfterEnd = true
        stream.unconsumed = 0
        let submitted = HTTP2Fields.response(status: status, reason: reason).withFields { fields, count in
            nghttp2_submit_response(session, id, fields, count, nil)
        }
        if submitted != 0 { submitReset(id, HTTP2ErrorCode.internalError) }
    }

    private func answerable(_ id: Int32) -> HBONEStream? {
        guard role == .server, end == nil, let stream = streams[id], !stream.isAnswered, !stream.isMuted else {
            return nil
        }
        return stream
    }

    /// There is more for `readBody` to read.
    public final func resumeBody(_ stream: HBONEStream) {
        guard end == nil, stream.maySend else { return }
        if reading === stream { resumedWhileReading = true } else { ready.append(stream) }
    }

    func bodyMayGo(_ stream: HBONEStream) {
        stream.bodyMayGo = true
        resumeBody(stream)
    }

    /// The application took so many of the bytes received: the peer may send as many more.
    public final func consumed(_ stream: HBONEStream, _ bytes: Int) {
        guard end == nil, bytes > 0, !stream.isClosed else { return }
        let bytes = min(bytes, stream.unconsumed)
        stream.unconsumed &-= bytes
        returnWindow(stream, bytes)
    }

    /// RST_STREAM; the next hook of the stream is `closed`, from `produce`.
    public final func reset(stream id: Int32, code: UInt32) {
        guard end == nil, let stream = find(id), !stream.isMuted || stream.resetAfterEnd else { return }
        stream.isMuted = true
        stream.resetAfterEnd = false
        stream.unconsumed = 0
        submitReset(id, code)
        if !stream.isOpened { cancelled.append((id, code)) }
    }

    func submitReset(_ id: Int32, _ code: UInt32) {
        nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, code)
    }

    /// Graceful: no new streams, live ones go on; ends as `clean` after the last of them.
    ///
    /// A server says so twice, a round trip apart, so that requests already under way are still served (RFC 9113 6.8).
    public final func sendGoAway() {
        guard end == nil, !isDraining else { return }
        isDraining = true
        if role == .server {
            nghttp2_submit_shutdown_notice(session)
            withUnsafeBytes(of: Self.drainPing) { submitPing($0) }
        } else {
            submitFinalGoAway()
        }
    }

    func submitFinalGoAway() {
        nghttp2_submit_goaway(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nghttp2_session_get_last_proc_stream_id(session),
            HTTP2ErrorCode.noError, nil, 0)
    }

    /// The answer is `pongReceived`.
    public final func ping() {
        guard end == nil else { return }
        submitPing(UnsafeRawBufferPointer(start: nil, count: 0))
    }

    private func submitPing(_ payload: UnsafeRawBufferPointer) {
        nghttp2_submit_ping(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), payload.baseAddress?.assumingMemoryBound(to: UInt8.self))
    }

    /// Tells the PING that ends a server's round trip of grace from those of `ping()`, whose payload is zero.
    static let drainPing = UInt64(0x6375_6c76_6572_7421)

    // MARK: The streams

    func find(_ id: Int32) -> HBONEStream? {
        if let latest, latest.id == id { return latest }
        guard let stream = streams[id] else { return nil }
        latest = stream
        return stream
    }

    func newStream(_ id: Int32, isReported: Bool, isOpened: Bool) -> HBONEStream {
        HBONEStream(
            id: id, isReported: isReported, isOpened: isOpened, receiveWindow: Int(limits.streamWindow),
            sendWindow: peerStreamWindow)
    }

    func add(_ stream: HBONEStream) {
        streams[stream.id] = stream
        if stream.isReported { activeStreams += 1 }
    }
}
