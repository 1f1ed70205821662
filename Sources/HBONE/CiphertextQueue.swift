/// Bytes on their way to the socket, in a list of chunks: appended at the end, taken from the front, never moved.
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

    init() {}

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

    mutating func append(_ bytes: UnsafeRawPointer, count added: Int) {
        var from = bytes
        var left = added
        count += added
        while left > 0 {
            let chunk = tail.flatMap { $0.pointee.end < Self.room ? $0 : nil } ?? grow()
            let part = min(left, Self.room - chunk.pointee.end)
            (Self.bytes(chunk) + chunk.pointee.end).copyMemory(from: from, byteCount: part)
            chunk.pointee.end += part
            from += part
            left -= part
        }
    }

    private mutating func grow() -> UnsafeMutablePointer<Header> {
        let chunk = ChunkPool.take().bindMemory(to: Header.self, capacity: 1)
        chunk.initialize(to: Header(next: nil, start: 0, end: 0))
        if let tail { tail.pointee.next = chunk } else { head = chunk }
        tail = chunk
        return chunk
    }

    /// The contiguous front; valid until the next change.
    var front: UnsafeRawBufferPointer {
        guard let head else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        return UnsafeRawBufferPointer(
            start: Self.bytes(head) + head.pointee.start, count: head.pointee.end - head.pointee.start)
    }

    mutating func removeFirst(_ removed: Int) {
        precondition(removed <= count, "more bytes sent than were pending")
        var left = removed
        count -= removed
        while let chunk = head, left > 0 || chunk.pointee.start == chunk.pointee.end {
            let part = min(left, chunk.pointee.end - chunk.pointee.start)
            chunk.pointee.start += part
            left -= part
            guard chunk.pointee.start == chunk.pointee.end else { return }
            head = chunk.pointee.next
            if head == nil { tail = nil }
            ChunkPool.put(UnsafeMutableRawPointer(chunk))
        }
    }
}
