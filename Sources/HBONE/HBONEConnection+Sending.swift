import CNGHTTP2
import Glibc

// What `produce` does: frames of nghttp2 and DATA of the streams, in as few TLS records as they fill.
extension HBONEConnection {
    /// Of one read of a body: a stream whose reads are not full gets no more than it needs.
    private static let smallRead = 8 << 10
    private static let bulkRead = 256 << 10
    /// Records' worth of memory for one read.
    private static let piecesMax = 20

    /// nghttp2 or a stream has something to send now.
    final var wantsWrite: Bool {
        nghttp2_session_want_write(session) != 0 || !cancelled.isEmpty || !windowUpdates.isEmpty
            || unreturned >= connectionUpdateMin || (sendWindow > 0 && !ready.isEmpty)
    }

    final func pump() {
        closeCancelled()
        engine.beginWriting()
        writeWindowUpdates()
        repeat {
            writeControlFrames()
            writeData()
        } while failure == nil && engine.output.count < limits.pendingOutputMax
            && nghttp2_session_want_write(session) != 0
        writer.seal(engine)
        engine.endWriting()
        failure = failure ?? engine.sendFailure
    }

    /// A `closed` hook may reset further streams.
    private func closeCancelled() {
        while let (stream, code) = cancelled.popLast() { didClose(stream, code) }
    }

    /// After a terminating GOAWAY nghttp2 would still send, but does not want to.
    private func writeControlFrames() {
        while failure == nil, engine.output.count < limits.pendingOutputMax, nghttp2_session_want_write(session) != 0 {
            var bytes: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(session, &bytes)
            if count > 0, let bytes {
                writer.append(bytes, count: count, engine)
            } else if count < 0 {
                fail(String(cString: nghttp2_strerror(Int32(count))), HTTP2ErrorCode.internalError)
            } else {
                return
            }
        }
    }

    // MARK: DATA

    /// Each stream that has something to send, in turn, one read at a time.
    private func writeData() {
        while failure == nil, !closeRequested, sendWindow > 0, engine.output.count < limits.pendingOutputMax,
            let stream = ready.popFirst()
        {
            guard stream.maySend, stream.sendWindow > 0 else { continue }
            writeBody(stream)
        }
    }

    private func writeBody(_ stream: HBONEStream) {
        let limit = min(stream.sendWindow, sendWindow, stream.isBulk ? Self.bulkRead : Self.smallRead)
        withUnsafeTemporaryAllocation(of: iovec.self, capacity: Self.piecesMax) { pieces in
            let used = writer.roomForData(limit, frameMax: peerFrameMax, pieces, engine)
            let room = UnsafeMutableBufferPointer(rebasing: pieces[..<used])
            reading = stream
            resumedWhileReading = false
            let read = readBody(stream: stream, into: room)
            reading = nil
            switch read {
            case .bytes(let count) where count > 0:
                let capacity = room.reduce(0) { $0 &+ $1.iov_len }
                precondition(count <= capacity, "more bytes read than there was room")
                writer.commitData(stream: stream.id, count: count, room, engine)
                stream.sendWindow &-= count
                sendWindow &-= count
                stream.isBulk = count == capacity || (stream.isBulk && count > 16 << 10)
                ready.append(stream)
            case .end: endBody(stream)
            case .failed: reset(stream: stream.id, code: HTTP2ErrorCode.connectError)
            case .bytes, .blocked: if resumedWhileReading { ready.append(stream) }
            }
        }
    }

    /// nghttp2 sends END_STREAM, since it keeps the streams' states.
    private func endBody(_ stream: HBONEStream) {
        guard stream.maySend else { return }
        stream.bodyEnded = true
        // It knows nothing of the windows, and would wait if a stream began with none: an empty frame needs none.
        let window = nghttp2_session_get_stream_remote_window_size(session, stream.id)
        if window <= 0 { feedWindowUpdate(stream.id, 1 &- Int(window)) }
        nghttp2_session_resume_data(session, stream.id)
    }

    /// nghttp2 asks for the body, of which it gets the end only.
    final func pullBody(_ id: Int32, _ flags: UnsafeMutablePointer<UInt32>) -> Int {
        guard let stream = find(id), stream.bodyEnded, !stream.isMuted else {
            return Int(NGHTTP2_ERR_DEFERRED.rawValue)
        }
        flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
        return 0
    }

    // MARK: Windows

    /// The peer may send so much again before it hears of it.
    private var streamUpdateMin: Int { Int(limits.streamWindow) / 4 }
    private var connectionUpdateMin: Int { Int(limits.connectionWindow) / 4 }

    /// The connection's.
    final func returnWindow(_ bytes: Int) { unreturned &+= bytes }

    /// The stream's: nobody holds these bytes any more.
    final func returnWindow(_ stream: HBONEStream, _ bytes: Int) {
        // No more will come on a stream that the peer ended.
        guard !stream.peerEnded, !stream.isMuted else { return }
        stream.unreturned &+= bytes
        guard stream.unreturned >= streamUpdateMin, !stream.owesWindowUpdate else { return }
        stream.owesWindowUpdate = true
        windowUpdates.append(stream)
    }

    private func writeWindowUpdates() {
        if unreturned >= connectionUpdateMin {
            writeWindowUpdate(0, unreturned)
            receiveWindow &+= unreturned
            unreturned = 0
        }
        for stream in windowUpdates {
            stream.owesWindowUpdate = false
            guard !stream.isClosed, !stream.isMuted, !stream.peerEnded else { continue }
            writeWindowUpdate(stream.id, stream.unreturned)
            stream.receiveWindow &+= stream.unreturned
            stream.unreturned = 0
        }
        windowUpdates.removeAll(keepingCapacity: true)
    }

    private func writeWindowUpdate(_ stream: Int32, _ increment: Int) {
        Self.withWindowUpdate(stream, increment) { writer.append($0.baseAddress!, count: $0.count, engine) }
    }

    private func feedWindowUpdate(_ stream: Int32, _ increment: Int) {
        Self.withWindowUpdate(stream, increment) { feed($0) }
    }

    private static func withWindowUpdate(
        _ stream: Int32, _ increment: Int, _ body: (UnsafeRawBufferPointer) -> Void
    ) {
        withUnsafeTemporaryAllocation(byteCount: FrameHeader.count + 4, alignment: 8) { frame in
            FrameHeader(length: 4, type: FrameType.windowUpdate, flags: 0, stream: stream).store(to: frame.baseAddress!)
            (frame.baseAddress! + FrameHeader.count)
                .storeBytes(of: UInt32(truncatingIfNeeded: increment).bigEndian, as: UInt32.self)
            body(UnsafeRawBufferPointer(frame))
        }
    }

    /// WINDOW_UPDATE of the peer.
    final func didReceiveWindowUpdate(_ id: Int32, _ increment: Int) {
        // An error, which nghttp2 answers.
        guard increment > 0 else { return feedWindowUpdate(id, 0) }
        guard id != 0 else {
            sendWindow &+= increment
            if sendWindow > Self.windowMax {
                fail("a window of more than 2^31-1 bytes", HTTP2ErrorCode.flowControlError)
            }
            return
        }
        if let stream = find(id) { widen(stream, by: increment) }
    }

    /// The peer changed what may be sent on a stream.
    final func widen(_ stream: HBONEStream, by change: Int) {
        stream.sendWindow &+= change
        guard stream.sendWindow <= Self.windowMax else {
            return reset(stream: stream.id, code: HTTP2ErrorCode.flowControlError)
        }
        // It may have left the list for want of window.
        if change > 0, stream.sendWindow > 0, stream.sendWindow &- change <= 0, stream.maySend { ready.append(stream) }
    }

    /// RFC 9113 6.9.1.
    private static let windowMax = Int(Int32.max)

    // MARK: What left

    final func didSend(_ frame: nghttp2_frame) {
        switch UInt32(frame.hd.type) {
        case NGHTTP2_HEADERS.rawValue:
            guard let stream = find(frame.hd.stream_id) else { return }
            stream.isOpened = true
            if role == .server { stream.hasAnswer = stream.isAccepted }
            if role == .client || stream.isAccepted { bodyMayGo(stream) }
            // Only now: a stream with RST_STREAM queued would not send its HEADERS any more.
            if stream.resetAfterEnd { submitReset(stream.id, HTTP2ErrorCode.noError) }
        case NGHTTP2_GOAWAY.rawValue where frame.goaway.error_code != HTTP2ErrorCode.noError:
            // nghttp2 blames the peer. The connection ends with this, whatever streams there are.
            let debug = UnsafeRawBufferPointer(start: frame.goaway.opaque_data, count: frame.goaway.opaque_data_len)
            failure = failure ?? .http2(Self.blame(frame.goaway.error_code, String(decoding: debug, as: UTF8.self)))
        default: break
        }
    }

    static func blame(_ code: UInt32, _ text: String) -> String {
        // The limit on resets is the one reason that nghttp2 does not give (it says INTERNAL_ERROR).
        let reason = text.isEmpty && code == HTTP2ErrorCode.internalError ? "streams are reset too fast" : text
        return reason.isEmpty ? HTTP2ErrorCode.name(code) : "\(HTTP2ErrorCode.name(code)): \(reason)"
    }

    /// A request that cannot be sent any more, because the peer went away first. The peer has not seen it.
    final func didNotSend(_ frame: nghttp2_frame) {
        guard UInt32(frame.hd.type) == NGHTTP2_HEADERS.rawValue, let stream = find(frame.hd.stream_id) else { return }
        if role == .client, !stream.isOpened { didClose(stream.id, HTTP2ErrorCode.refusedStream) }
    }

    /// Written by hand: after an error of its own nghttp2 must not be asked any more.
    final func sendFinalGoAway(_ code: UInt32) {
        withUnsafeTemporaryAllocation(byteCount: FrameHeader.count + 8, alignment: 8) { frame in
            FrameHeader(length: 8, type: UInt8(NGHTTP2_GOAWAY.rawValue), flags: 0, stream: 0)
                .store(to: frame.baseAddress!)
            let last = UInt32(bitPattern: nghttp2_session_get_last_proc_stream_id(session))
            (frame.baseAddress! + FrameHeader.count).storeBytes(of: last.bigEndian, as: UInt32.self)
            (frame.baseAddress! + FrameHeader.count + 4).storeBytes(of: code.bigEndian, as: UInt32.self)
            writer.append(frame.baseAddress!, count: frame.count, engine)
        }
        writer.seal(engine)
        engine.endWriting()
    }
}
