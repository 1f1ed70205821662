import Glibc

/// Where the connection is in the peer's sequence of frames.
///
/// nghttp2 reads all frames but two: DATA of live streams, whose payload goes to the subclass without being looked at, and
/// WINDOW_UPDATE, since what may be sent is counted where DATA is sent. Everything irregular about these two, as on streams that are
/// closed or muted, is left to nghttp2, which has the rules.
struct FrameReader {
    enum Route {
        case nghttp2
        case data
        case windowUpdate
    }

    static let prefaceCount = 24

    /// Of the client's connection preface, still to come.
    var prefaceLeft: Int
    /// The header of the present frame, while it is incomplete.
    var partial: (UInt64, UInt64) = (0, 0)
    var partialCount = 0
    var header = FrameHeader(length: 0, type: 0, flags: 0, stream: 0)
    var isInFrame = false
    /// Of the payload, still to come.
    var left = 0
    var route = Route.nghttp2
    /// The stream of the present DATA frame.
    var stream: HBONEStream?
    /// Of the present DATA frame, in bytes at its end; `nil` until the byte that says so was read.
    var padding: Int? = 0
    var increment: UInt32 = 0
    /// A header block is not complete: only CONTINUATION may follow, which is for nghttp2 to see.
    var isInHeaderBlock = false
    /// The peer's SETTINGS must come before anything else.
    var sawFrame = false

    init(isServer: Bool) { prefaceLeft = isServer ? Self.prefaceCount : 0 }
}

// Frames as they come out of TLS records.
extension HBONEConnection {
    final func readFrames(_ plaintext: UnsafeMutableRawBufferPointer) {
        guard var next = plaintext.baseAddress else { return }
        var count = plaintext.count
        if frames.prefaceLeft > 0 {
            let part = min(count, frames.prefaceLeft)
            feed(UnsafeRawBufferPointer(start: next, count: part))
            frames.prefaceLeft &-= part
            next += part
            count &-= part
        }
        while count > 0, failure == nil {
            if !frames.isInFrame {
                let part = readHeader(next, count)
                next += part
                count &-= part
                guard frames.isInFrame else { return }
                if frames.left == 0 { endFrame() }
                continue
            }
            let part = min(count, frames.left)
            frames.left &-= part
            readPayload(next, part)
            next += part
            count &-= part
            if frames.left == 0, failure == nil { endFrame() }
        }
    }

    /// Returns how many of the bytes belong to the header.
    private func readHeader(_ bytes: UnsafeRawPointer, _ count: Int) -> Int {
        if frames.partialCount == 0, count >= FrameHeader.count {
            beginFrame(bytes)
            return FrameHeader.count
        }
        let part = min(count, FrameHeader.count &- frames.partialCount)
        let before = frames.partialCount
        frames.partialCount &+= part
        withUnsafeMutableBytes(of: &frames.partial) {
            ($0.baseAddress! + before).copyMemory(from: bytes, byteCount: part)
        }
        guard frames.partialCount == FrameHeader.count else { return part }
        frames.partialCount = 0
        let partial = frames.partial
        withUnsafeBytes(of: partial) { beginFrame($0.baseAddress!) }
        return part
    }

    private func beginFrame(_ bytes: UnsafeRawPointer) {
        let header = FrameHeader(bytes)
        frames.header = header
        frames.left = header.length
        frames.isInFrame = true
        frames.route = route(header)
        switch frames.route {
        case .data: beginData(header)
        case .windowUpdate: frames.increment = 0
        case .nghttp2:
            // In the order in which the peer sent them: what it says next may be about these bytes' stream.
            deliver()
            if header.type == FrameType.headers || header.type == FrameType.continuation {
                frames.isInHeaderBlock = header.flags & FrameFlag.endHeaders == 0
            }
            feed(UnsafeRawBufferPointer(start: bytes, count: FrameHeader.count))
            boundUnknownFrame(header)
        }
        frames.sawFrame = true
    }

    private func route(_ header: FrameHeader) -> FrameReader.Route {
        guard !frames.isInHeaderBlock, frames.sawFrame else { return .nghttp2 }
        switch header.type {
        case FrameType.data:
            guard header.length <= Int(limits.maxFrameSize), let stream = find(header.stream), !stream.isMuted,
                !stream.peerEnded, role == .server || stream.isResponded
            else { return .nghttp2 }
            frames.stream = stream
            return .data
        case FrameType.windowUpdate:
            guard header.length == 4 else { return .nghttp2 }
            if header.stream == 0 { return .windowUpdate }
            return find(header.stream) == nil ? .nghttp2 : .windowUpdate
        default: return .nghttp2
        }
    }

    private func readPayload(_ bytes: UnsafeMutableRawPointer, _ count: Int) {
        switch frames.route {
        case .nghttp2: feed(UnsafeRawBufferPointer(start: bytes, count: count))
        case .data: readData(bytes, count)
        case .windowUpdate:
            for offset in 0..<count {
                frames.increment = frames.increment << 8 | UInt32((bytes + offset).load(as: UInt8.self))
            }
        }
    }

    private func endFrame() {
        frames.isInFrame = false
        switch frames.route {
        case .nghttp2: break
        case .data: endData()
        case .windowUpdate: didReceiveWindowUpdate(frames.header.stream, Int(frames.increment & 0x7fff_ffff))
        }
    }

    // MARK: DATA

    private func beginData(_ header: FrameHeader) {
        guard let stream = frames.stream else { return }
        frames.padding = header.flags & FrameFlag.padded == 0 ? 0 : nil
        stream.receiveWindow &-= header.length
        receiveWindow &-= header.length
        // Whoever may hold these bytes: one stream's reader must not stop the others. Each is bounded by its own window.
        returnWindow(header.length)
        if stream.receiveWindow < 0 || receiveWindow < 0 {
            fail("more DATA than flow control allows", HTTP2ErrorCode.flowControlError)
        } else if frames.padding == nil, header.length == 0 {
            fail("a padded frame without padding", HTTP2ErrorCode.protocolError)
        } else if header.length > 0 {
            idleFrames = 0
        }
    }

    private func readData(_ bytes: UnsafeMutableRawPointer, _ count: Int) {
        guard let stream = frames.stream else { return }
        var from = bytes
        var part = count
        if frames.padding == nil {
            let padding = Int(from.load(as: UInt8.self))
            frames.padding = padding
            guard padding < frames.header.length else {
                return fail("more padding than payload", HTTP2ErrorCode.protocolError)
            }
            from += 1
            part &-= 1
            // Nobody will consume the padding.
            stream.unconsumed &+= padding &+ 1
            consumed(stream, padding &+ 1)
        }
        // Behind these bytes are `left`; of both together, the last are padding.
        if let padding = frames.padding, frames.left < padding { part = max(0, part &- (padding &- frames.left)) }
        guard part > 0, !stream.isMuted else { return }
        stream.unconsumed &+= part
        if delivery.isFull || (delivery.stream != nil && delivery.stream !== stream) { deliver() }
        delivery.append(stream, from, part)
    }

    private func endData() {
        let header = frames.header
        let stream = frames.stream
        frames.stream = nil
        if header.flags & FrameFlag.endStream != 0 {
            deliver()
            if let stream { tellEndOfStream(stream) }
        } else if header.length == 0 {
            _ = countIdle()
        }
    }

    /// nghttp2 keeps the streams' states: it is told by a frame of DATA without payload.
    private func tellEndOfStream(_ stream: HBONEStream) {
        guard !stream.isClosed else { return }
        withUnsafeTemporaryAllocation(byteCount: FrameHeader.count, alignment: 8) { bytes in
            FrameHeader(length: 0, type: FrameType.data, flags: FrameFlag.endStream, stream: stream.id)
                .store(to: bytes.baseAddress!)
            feed(UnsafeRawBufferPointer(bytes))
        }
    }

    final func fail(_ reason: String, _ code: UInt32) {
        guard failure == nil else { return }
        failure = .http2(Self.blame(code, reason))
        failureCode = code
    }

    // MARK: To the subclass

    /// Passes on what was gathered.
    final func deliver() {
        guard let stream = delivery.stream else { return }
        if stream.isMuted || stream.isClosed {
            delivery.removeAll()
        } else {
            let (pieces, count) = delivery.take()
            received(stream: stream, pieces, count: count)
        }
    }

    final func deliver(ifFor stream: HBONEStream) { if delivery.stream === stream { deliver() } }
}

/// Consecutive pieces of one stream's DATA: the application gets them in one vectored write.
struct Delivery: ~Copyable {
    private static let piecesMax = 64

    private(set) var stream: HBONEStream?
    private var pieces: UnsafeMutableBufferPointer<iovec>?
    private var used = 0
    private var count = 0

    init() {}

    deinit { pieces?.deallocate() }

    var isFull: Bool { used == Self.piecesMax }

    mutating func append(_ stream: HBONEStream, _ bytes: UnsafeMutableRawPointer, _ count: Int) {
        let pieces = self.pieces ?? .allocate(capacity: Self.piecesMax)
        self.pieces = pieces
        self.stream = stream
        pieces[used] = iovec(iov_base: bytes, iov_len: count)
        used &+= 1
        self.count &+= count
    }

    /// What was gathered: the pieces are valid until the next is added.
    mutating func take() -> (UnsafeMutableBufferPointer<iovec>, count: Int) {
        defer { removeAll() }
        return (UnsafeMutableBufferPointer(start: pieces?.baseAddress, count: used), count)
    }

    mutating func removeAll() {
        stream = nil
        used = 0
        count = 0
    }
}
