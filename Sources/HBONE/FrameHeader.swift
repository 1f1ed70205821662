/// The nine bytes in front of every HTTP/2 frame (RFC 9113 4.1).
struct FrameHeader {
    static let count = 9

    var length: Int
    var type: UInt8
    var flags: UInt8
    /// Without the reserved bit.
    var stream: Int32

    init(length: Int, type: UInt8, flags: UInt8, stream: Int32) {
        self.length = length
        self.type = type
        self.flags = flags
        self.stream = stream
    }

    init(_ bytes: UnsafeRawPointer) {
        let word = UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self))
        length = Int(word >> 8)
        type = UInt8(truncatingIfNeeded: word)
        flags = bytes.load(fromByteOffset: 4, as: UInt8.self)
        stream = Int32(bitPattern: UInt32(bigEndian: (bytes + 5).loadUnaligned(as: UInt32.self)) & 0x7fff_ffff)
    }

    func store(to bytes: UnsafeMutableRawPointer) {
        let word = UInt32(truncatingIfNeeded: length) << 8 | UInt32(type)
        bytes.storeBytes(of: word.bigEndian, as: UInt32.self)
        bytes.storeBytes(of: flags, toByteOffset: 4, as: UInt8.self)
        (bytes + 5).storeBytes(of: UInt32(bitPattern: stream).bigEndian, as: UInt32.self)
    }
}

/// Frame types and flags that are handled beside nghttp2.
enum FrameType {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let windowUpdate: UInt8 = 8
    static let continuation: UInt8 = 9
}

enum FrameFlag {
    static let endStream: UInt8 = 0x1
    static let endHeaders: UInt8 = 0x4
    static let padded: UInt8 = 0x8
}
