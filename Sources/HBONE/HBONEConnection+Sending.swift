import CNGHTTP2

// What `produce` does: frames of nghttp2 are staged, and sealed into as few TLS records as they fill.
extension HBONEConnection {
    /// Four full TLS records.
    static let stagingSize = 4 * 16384
    private static let frameHeaderSize = 9
    /// Of a DATA frame, in bytes: with its header it fills the staging exactly.
    static let dataPayloadMax = stagingSize - frameHeaderSize
    /// Less room than this is not worth a frame: the staging is sealed first.
    private static let dataPayloadMin = 4096
    /// Plaintext gathered before nghttp2 sees it, in bytes.
    static let plaintextMax = 64 << 10

    func pump() {
        staging = ChunkPool.take()
        defer {
            staging.map(ChunkPool.put)
            staging = nil
        }
        closeCancelled()
        pausedByBound = false
        // After a terminating GOAWAY nghttp2 would still send, but does not want to.
        while failure == nil, engine.output.count < limits.pendingOutputMax, nghttp2_session_want_write(session) != 0 {
            var bytes: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(session, &bytes)
            let isResumed = applyResumes()
            if count > 0, let bytes {
                stage(UnsafeRawPointer(bytes), count)
            } else if count < 0 {
                failure = failure ?? .http2(String(cString: nghttp2_strerror(Int32(count))))
                failureCode = HTTP2ErrorCode.internalError
            } else if pausedByBound {
                pausedByBound = false
            } else if !isResumed {
                break
            }
        }
        seal()
    }

    /// A `closed` hook may reset further streams.
    private func closeCancelled() {
        while let (stream, code) = cancelled.popLast() { didClose(stream, code) }
    }

    private func applyResumes() -> Bool {
        guard !resumes.isEmpty else { return false }
        for id in resumes { nghttp2_session_resume_data(session, id) }
        resumes.removeAll(keepingCapacity: true)
        return true
    }

    /// Frames other than DATA.
    private func stage(_ bytes: UnsafeRawPointer, _ count: Int) {
        if count > Self.stagingSize - staged { seal() }
        if count > Self.stagingSize {
            note(engine.send(UnsafeRawBufferPointer(start: bytes, count: count)))
        } else if let staging {
            (staging + staged).copyMemory(from: bytes, byteCount: count)
            staged += count
        }
    }

    private func seal() {
        guard staged > 0, let staging else { return }
        note(engine.send(UnsafeRawBufferPointer(start: staging, count: staged)))
        staged = 0
    }

    private func note(_ end: ConnectionEnd?) { failure = failure ?? end }

    /// nghttp2 wants `length` bytes of a stream's body: they go into the staging behind room for their frame's header.
    func pullBody(_ id: Int32, _ length: Int, _ flags: UnsafeMutablePointer<UInt32>) -> Int {
        let deferred = Int(NGHTTP2_ERR_DEFERRED.rawValue)
        guard failure == nil, !closeRequested, let stream = find(id), !stream.isMuted, let staging else {
            return deferred
        }
        stream.isDeferred = true
        guard stream.bodyMayGo else { return deferred }
        if Self.stagingSize - staged - Self.frameHeaderSize < min(length, Self.dataPayloadMin) { seal() }
        let room = min(length, Self.stagingSize - staged - Self.frameHeaderSize)
        reading = stream
        let read = readBody(
            stream: id,
            into: UnsafeMutableRawBufferPointer(start: staging + staged + Self.frameHeaderSize, count: room))
        reading = nil
        let isResumed = stream.resumeAfterRead
        stream.resumeAfterRead = false
        switch read {
        case .bytes(let count) where count > 0:
            precondition(count <= room, "more bytes read than there was room")
            stream.isDeferred = false
            flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
            return count
        case .end:
            stream.isDeferred = false
            flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue | NGHTTP2_DATA_FLAG_EOF.rawValue
            return 0
        case .failed:
            reset(stream: id, code: HTTP2ErrorCode.connectError)
        case .bytes, .blocked:
            if isResumed {
                stream.isDeferred = false
                resumes.append(id)
            }
        }
        return deferred
    }

    /// The frame whose payload `pullBody` left in the staging.
    func stageData(_ header: UnsafePointer<UInt8>, _ length: Int) -> Int32 {
        guard let staging else { return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue }
        (staging + staged).copyMemory(from: header, byteCount: Self.frameHeaderSize)
        staged += Self.frameHeaderSize + length
        if Self.stagingSize - staged <= Self.frameHeaderSize { seal() }
        if failure != nil { return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue }
        guard engine.output.count + staged >= limits.pendingOutputMax else { return 0 }
        seal()
        pausedByBound = true
        return NGHTTP2_ERR_PAUSE.rawValue
    }

    func didSend(_ frame: nghttp2_frame) {
        switch UInt32(frame.hd.type) {
        case NGHTTP2_HEADERS.rawValue:
            guard let stream = find(frame.hd.stream_id) else { return }
            stream.isOpened = true
            // Only now: a stream with RST_STREAM queued would not send its HEADERS any more.
            if stream.resetAfterEnd { submitReset(stream.id, HTTP2ErrorCode.noError) }
        case NGHTTP2_GOAWAY.rawValue where frame.goaway.error_code != HTTP2ErrorCode.noError:
            // nghttp2 blames the peer. The connection ends with this, whatever streams there are.
            let debug = UnsafeRawBufferPointer(start: frame.goaway.opaque_data, count: frame.goaway.opaque_data_len)
            failure = failure ?? .http2(Self.blame(frame.goaway.error_code, String(decoding: debug, as: UTF8.self)))
        default: break
        }
    }

    private static func blame(_ code: UInt32, _ text: String) -> String {
        // The limit on resets is the one reason that nghttp2 does not give (it says INTERNAL_ERROR).
        let reason = text.isEmpty && code == HTTP2ErrorCode.internalError ? "streams are reset too fast" : text
        return reason.isEmpty ? HTTP2ErrorCode.name(code) : "\(HTTP2ErrorCode.name(code)): \(reason)"
    }

    /// A request that cannot be sent any more, because the peer went away first. The peer has not seen it.
    func didNotSend(_ frame: nghttp2_frame) {
        guard UInt32(frame.hd.type) == NGHTTP2_HEADERS.rawValue, let stream = find(frame.hd.stream_id) else { return }
        if role == .client, !stream.isOpened { didClose(stream.id, HTTP2ErrorCode.refusedStream) }
    }

    /// Written by hand: after an error of its own nghttp2 must not be asked any more.
    func sendFinalGoAway(_ code: UInt32) {
        let last = UInt32(bitPattern: nghttp2_session_get_last_proc_stream_id(session))
        let payload = [UInt32(8) << 8 | NGHTTP2_GOAWAY.rawValue, 0, last, code]
        var frame: [UInt8] = payload.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) }
        }
        // The frame header is 9 bytes: length and type, then flags, then the stream.
        frame.insert(0, at: 4)
        frame.withUnsafeBytes { note(engine.send($0)) }
    }
}
