import CNGHTTP2

// What nghttp2 says while it is fed.
extension HBONEConnection {
    func didBeginHeaders(_ frame: nghttp2_frame) {
        let id = frame.hd.stream_id
        fields.begin(stream: id)
        if role == .server, frame.headers.cat == NGHTTP2_HCAT_REQUEST, streams[id] == nil {
            add(newStream(id, isReported: false, isOpened: true))
        }
    }

    /// Nonzero ends the session.
    func didReceive(_ frame: nghttp2_frame) -> Int32 {
        switch UInt32(frame.hd.type) {
        case NGHTTP2_DATA.rawValue:
            if has(NGHTTP2_FLAG_END_STREAM, frame) {
                didReceiveEnd(frame.hd.stream_id)
            } else if frame.hd.length == 0 {
                return countIdle()
            }
        case NGHTTP2_HEADERS.rawValue: return didReceiveHeaders(frame)
        case NGHTTP2_PRIORITY.rawValue: return countIdle()
        case NGHTTP2_SETTINGS.rawValue where !has(NGHTTP2_FLAG_ACK, frame):
            didReceiveSettings()
            return countIdle()
        case NGHTTP2_PING.rawValue: didReceivePing(frame)
        case NGHTTP2_GOAWAY.rawValue:
            goAwayReceived = true
            receivedGoAwayCode = frame.goaway.error_code
            goneAway(lastStream: frame.goaway.last_stream_id, code: frame.goaway.error_code)
        default: break
        }
        return 0
    }

    private func has(_ flag: nghttp2_flag, _ frame: nghttp2_frame) -> Bool {
        UInt32(frame.hd.flags) & flag.rawValue != 0
    }

    /// Frames that cost us work and bring nothing; bytes and new streams start the count again.
    func countIdle() -> Int32 {
        idleFrames += 1
        guard idleFrames > limits.idleFramesMax else { return 0 }
        failure = .http2("more than \(limits.idleFramesMax) frames without effect in a row")
        failureCode = HTTP2ErrorCode.enhanceYourCalm
        return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
    }

    private func didReceiveHeaders(_ frame: nghttp2_frame) -> Int32 {
        let id = frame.hd.stream_id
        guard let stream = find(id), fields.stream == id else { return 0 }
        let isFirst: Bool
        if role == .server {
            isFirst = frame.headers.cat == NGHTTP2_HCAT_REQUEST
            if isFirst { didReceiveRequest(stream) }
        } else {
            isFirst = !stream.isResponded
            if isFirst { didReceiveResponse(stream, isLast: has(NGHTTP2_FLAG_END_STREAM, frame)) }
        }
        let isProgress = isFirst && (role == .server || stream.isResponded)
        if isProgress { idleFrames = 0 }
        if has(NGHTTP2_FLAG_END_STREAM, frame) { didReceiveEnd(id) }
        return isProgress ? 0 : countIdle()
    }

    private func didReceiveRequest(_ stream: HBONEStream) {
        switch fields.request {
        case .connect(let request):
            stream.isReported = true
            activeStreams += 1
            requested(stream: stream.id, request)
        case .refused(let status, let reason):
            refuse(stream: stream.id, status: status, reason: reason)
            malformedRequest(stream: stream.id, reason: reason)
        }
    }

    private func didReceiveResponse(_ stream: HBONEStream, isLast: Bool) {
        guard !stream.isMuted else { return }
        guard let status = fields.status, status >= 200 || !isLast else {
            return reset(stream: stream.id, code: HTTP2ErrorCode.protocolError)
        }
        guard status >= 200 else { return }
        stream.isResponded = true
        if status == 200 {
            stream.hasAnswer = true
            responded(stream: stream.id, status: status, reason: nil)
            resumeBody(stream)
        } else {
            responded(stream: stream.id, status: status, reason: fields.reason)
            reset(stream: stream.id, code: HTTP2ErrorCode.cancel)
        }
    }

    private func didReceivePing(_ frame: nghttp2_frame) {
        guard has(NGHTTP2_FLAG_ACK, frame) else { return pinged() }
        let payload = withUnsafeBytes(of: frame.ping.opaque_data) { $0.loadUnaligned(as: UInt64.self) }
        if payload == Self.drainPing { submitFinalGoAway() } else { pongReceived() }
    }

    /// Of streams that are not live: what is on them is dropped.
    func didReceiveData(_ id: Int32, _ count: Int) {
        nghttp2_session_consume(session, id, count)
        guard let stream = find(id), !stream.isMuted, role == .client, !stream.isResponded else { return }
        reset(stream: id, code: HTTP2ErrorCode.protocolError)
    }

    /// nghttp2 has looked at the values; the windows of DATA are ours (RFC 9113 6.9.2).
    private func didReceiveSettings() {
        if !isSettled {
            isSettled = true
            settled()
        }
        peerFrameMax = Int(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_FRAME_SIZE))
        let window = Int(nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE))
        let change = window - peerStreamWindow
        peerStreamWindow = window
        guard change != 0 else { return }
        for stream in streams.values { widen(stream, by: change) }
    }

    private func didReceiveEnd(_ id: Int32) {
        guard let stream = find(id) else { return }
        stream.peerEnded = true
        stream.resetAfterEnd = false
        if !stream.isMuted { receivedEnd(stream: id) }
    }

    func didClose(_ id: Int32, _ code: UInt32) {
        guard let stream = streams.removeValue(forKey: id) else { return }
        if latest === stream { latest = nil }
        // What came before its end belongs to the subclass still.
        deliver(ifFor: stream)
        stream.isClosed = true
        guard stream.isReported else { return }
        activeStreams -= 1
        closed(stream: id, code: code)
        stream.owner = nil
    }
}
