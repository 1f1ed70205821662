import Glibc

/// Plaintext on its way into TLS records, laid out where it will be encrypted.
///
/// A record is open while content is added to it; the bytes of an application are read straight into their place, behind
/// room for the header of the record and of the DATA frame. Open records exist only between `begin` and `finish`.
struct RecordWriter: ~Copyable {
    /// Of an HTTP/2 frame.
    static let frameHeaderCount = 9
    /// An open record with less room than this is sealed before a frame is begun.
    private static let framePayloadMin = 1024

    /// The header of the open record.
    private var record: UnsafeMutableRawPointer?
    /// From the open record to the end of its chunk.
    private var room = 0
    /// Content of the open record.
    private var filled = 0

    var isEmpty: Bool { filled == 0 }

    /// Opens a record if none is open.
    private mutating func open(_ engine: TLSEngine) {
        guard record == nil else { return }
        let space = engine.roomForRecord(atLeast: Self.framePayloadMin + Self.frameHeaderCount + RecordCipher.overhead)
        record = space.baseAddress
        room = space.count
        filled = 0
    }

    /// What the open record still takes.
    private var left: Int { min(RecordCipher.contentMax, room &- RecordCipher.overhead) &- filled }

    /// Seals the open record, if anything is in it.
    mutating func seal(_ engine: TLSEngine) {
        guard let record else { return }
        self.record = nil
        guard filled > 0 else { return }
        engine.seal(record, count: filled)
        filled = 0
    }

    /// Frames that are there already.
    mutating func append(_ bytes: UnsafeRawPointer, count: Int, _ engine: TLSEngine) {
        var from = bytes
        var rest = count
        while rest > 0 {
            open(engine)
            let part = min(rest, left)
            if part > 0, let record {
                (record + RecordCipher.headerCount + filled).copyMemory(from: from, byteCount: part)
                filled &+= part
                from += part
                rest &-= part
            }
            if left == 0 { seal(engine) }
        }
    }

    // MARK: DATA

    /// Where up to `limit` bytes of a body may be put: pieces of memory, each of which becomes the payload of one DATA frame
    /// of at most `frameMax` bytes in a record of its own. Returns how many of `pieces` are set; at least one.
    mutating func roomForData(
        _ limit: Int, frameMax: Int, _ pieces: UnsafeMutableBufferPointer<iovec>, _ engine: TLSEngine
    ) -> Int {
        if record != nil, left < Self.frameHeaderCount + min(limit, Self.framePayloadMin) { seal(engine) }
        open(engine)
        guard let record else { return 0 }
        var used = 0
        var wanted = limit
        // The first piece shares the open record.
        var at = record + RecordCipher.headerCount + filled
        var space = left
        var behind = room &- filled &- RecordCipher.overhead
        while used < pieces.count {
            let payload = min(space &- Self.frameHeaderCount, frameMax, wanted)
            guard payload > 0 else { break }
            pieces[used] = iovec(iov_base: at + Self.frameHeaderCount, iov_len: payload)
            used &+= 1
            wanted &-= payload
            // A further one begins a record, and only where a good part of one fits.
            behind &-= Self.frameHeaderCount &+ payload &+ RecordCipher.overhead
            guard wanted > 0, behind >= Self.framePayloadMin + Self.frameHeaderCount else { break }
            at += Self.frameHeaderCount &+ payload &+ RecordCipher.overhead
            space = min(RecordCipher.contentMax, behind)
        }
        return used
    }

    /// `count` bytes were put into those pieces, from the first on.
    mutating func commitData(
        stream: Int32, count: Int, _ pieces: UnsafeMutableBufferPointer<iovec>, _ engine: TLSEngine
    ) {
        var rest = count
        var index = 0
        while rest > 0 {
            let payload = min(rest, pieces[index].iov_len)
            guard let base = pieces[index].iov_base else { return }
            if index > 0 {
                // The record before is complete; the next begins where `roomForData` left room for its header.
                seal(engine)
                open(engine)
                assert(record.map { $0 + RecordCipher.headerCount + Self.frameHeaderCount } == base)
            }
            FrameHeader(length: payload, type: FrameType.data, flags: 0, stream: stream)
                .store(to: base - Self.frameHeaderCount)
            filled &+= Self.frameHeaderCount &+ payload
            rest &-= payload
            index &+= 1
        }
        if left < Self.frameHeaderCount + 16 { seal(engine) }
    }
}
