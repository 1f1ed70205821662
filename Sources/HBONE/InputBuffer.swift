/// Ciphertext from the socket: a chunk while it is being read, and between reads nothing but the beginning of a record.
struct InputBuffer: ~Copyable {
    private var chunk: UnsafeMutableRawPointer?
    /// Kept from before, at the front of the chunk or of `rest`.
    private var kept = 0
    /// The beginning of a record, which a connection under load leaves behind at nearly every read; in memory of its size if it is
    /// more than a record.
    private var rest: UnsafeMutableRawPointer?

    init() {}

    deinit {
        if let chunk { ChunkPool.put(chunk) }
        if let rest { Self.free(rest, kept) }
    }

    /// Behind what is kept. A record is far shorter than a chunk: there is room always.
    var room: UnsafeMutableRawBufferPointer {
        mutating get {
            let chunk = self.chunk ?? take()
            return UnsafeMutableRawBufferPointer(start: chunk + kept, count: ChunkPool.chunkSize - kept)
        }
    }

    private mutating func take() -> UnsafeMutableRawPointer {
        let chunk = ChunkPool.take()
        self.chunk = chunk
        if let rest {
            chunk.copyMemory(from: rest, byteCount: kept)
            Self.free(rest, kept)
            self.rest = nil
        }
        return chunk
    }

    private static func free(_ rest: UnsafeMutableRawPointer, _ kept: Int) {
        if kept <= ChunkPool.recordSize { ChunkPool.putRecord(rest) } else { rest.deallocate() }
    }

    /// All there is, when `count` bytes were put to the front of the room.
    func filled(_ count: Int) -> UnsafeMutableRawBufferPointer {
        precondition(chunk != nil && count <= ChunkPool.chunkSize - kept, "more bytes than there was room")
        return UnsafeMutableRawBufferPointer(start: chunk, count: kept + count)
    }

    /// Of what was filled, these bytes at its end are wanted again.
    mutating func keep(_ left: UnsafeMutableRawBufferPointer) {
        guard let chunk else { return }
        kept = left.count
        if let from = left.baseAddress, kept > 0, from != chunk { chunk.copyMemory(from: from, byteCount: kept) }
    }

    mutating func release() {
        guard let chunk else { return }
        if kept > 0 {
            let rest =
                kept <= ChunkPool.recordSize
                ? ChunkPool.takeRecord() : UnsafeMutableRawPointer.allocate(byteCount: kept, alignment: 64)
            rest.copyMemory(from: chunk, byteCount: kept)
            self.rest = rest
        }
        ChunkPool.put(chunk)
        self.chunk = nil
    }
}
