import Glibc

/// Bytes on their way to the socket, in a list of chunks: written at the end, taken from the front, never moved.
struct CiphertextQueue: ~Copyable {
    /// Begins a chunk; its bytes follow.
    private struct Header {
        var next: UnsafeMutablePointer<Header>?
        var start: Int
        var end: Int
    }

    private static let room = ChunkPool.chunkSize - MemoryLayout<Header>.size

    private var head: UnsafeMutablePointer<Header>?
    private var tail: UnsafeMutablePointer<Header>?
    private(set) var count = 0
    private var chunks = 0

    init() {}

    /// Memory, in bytes.
    var footprint: Int { chunks * ChunkPool.chunkSize }

    deinit {
        var chunk = head
        while let dead = chunk {
            chunk = dead.pointee.next
            ChunkPool.put(UnsafeMutableRawPointer(dead))
        }
    }

    private static func bytes(_ chunk: UnsafeMutablePointer<Header>) -> UnsafeMutableRawPointer {
        UnsafeMutableRawPointer(chunk + 1)
    }

    /// Contiguous memory behind the last byte, at least `least` bytes of it; what is written to its front belongs to the
    /// queue when it is said by `advance`. `least` is at most a chunk. Valid until something is removed.
    mutating func roomAtEnd(atLeast least: Int) -> UnsafeMutableRawBufferPointer {
        let chunk = tail.flatMap { Self.room &- $0.pointee.end >= least ? $0 : nil } ?? grow()
        return UnsafeMutableRawBufferPointer(
            start: Self.bytes(chunk) + chunk.pointee.end, count: Self.room &- chunk.pointee.end)
    }

    mutating func advance(_ written: Int) {
        guard let tail else { preconditionFailure("nothing was written yet") }
        tail.pointee.end &+= written
        count &+= written
    }

    mutating func append(_ bytes: UnsafeRawPointer, count added: Int) {
        var from = bytes
        var left = added
        while left > 0 {
            let room = roomAtEnd(atLeast: 1)
            let part = min(left, room.count)
            room.baseAddress?.copyMemory(from: from, byteCount: part)
            advance(part)
            from += part
            left -= part
        }
    }

    private mutating func grow() -> UnsafeMutablePointer<Header> {
        // An empty tail may be there: room was asked for and not used.
        let chunk = ChunkPool.take().bindMemory(to: Header.self, capacity: 1)
        chunk.initialize(to: Header(next: nil, start: 0, end: 0))
        if let tail { tail.pointee.next = chunk } else { head = chunk }
        tail = chunk
        chunks &+= 1
        return chunk
    }

    /// The front of the queue, for a vectored write; valid until the next change. Returns how many of `spans` are set.
    func front(_ spans: UnsafeMutableBufferPointer<iovec>) -> Int {
        var used = 0
        var chunk = head
        while let next = chunk, used < spans.count {
            let filled = next.pointee.end - next.pointee.start
            if filled > 0 {
                spans[used] = iovec(iov_base: Self.bytes(next) + next.pointee.start, iov_len: filled)
                used += 1
            }
            chunk = next.pointee.next
        }
        return used
    }

    mutating func removeFirst(_ removed: Int) {
        precondition(removed <= count, "more bytes sent than were pending")
        var left = removed
        count &-= removed
        while let chunk = head, left > 0 || chunk.pointee.start == chunk.pointee.end {
            let part = min(left, chunk.pointee.end &- chunk.pointee.start)
            chunk.pointee.start &+= part
            left &-= part
            guard chunk.pointee.start == chunk.pointee.end else { return }
            head = chunk.pointee.next
            if head == nil { tail = nil }
            chunks &-= 1
            ChunkPool.put(UnsafeMutableRawPointer(chunk))
        }
    }

    /// A chunk in which nothing was written is given back.
    mutating func trim() { if count == 0 { removeFirst(0) } }
}
