/// A netlink request under construction (netlink(7)): a header, a fixed part, attributes; all in host byte order.
struct NetlinkMessage {
    /// NLM_F_*.
    struct Flags: OptionSet {
        let rawValue: UInt16

        static let request = Flags(rawValue: 0x1)
        static let acknowledge = Flags(rawValue: 0x4)
        static let dump = Flags(rawValue: 0x300)
        static let replace = Flags(rawValue: 0x100)
        static let exclusive = Flags(rawValue: 0x200)
        static let create = Flags(rawValue: 0x400)
    }

    static let headerBytes = 16

    private(set) var bytes: [UInt8] = []

    init(type: UInt16, flags: Flags, sequence: UInt32 = 0) {
        append(UInt32(0))
        append(type)
        append(flags.union(.request).rawValue)
        append(sequence)
        // The kernel knows the sender.
        append(UInt32(0))
        finish()
    }

    var sequence: UInt32 {
        get { bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 8, as: UInt32.self) } }
        set { store(newValue, at: 8) }
    }

    mutating func append<Integer: FixedWidthInteger>(_ value: Integer) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
        finish()
    }

    mutating func append(_ values: [UInt8]) {
        bytes.append(contentsOf: values)
        finish()
    }

    mutating func attribute(_ type: UInt16, _ value: [UInt8]) {
        attribute(type) { $0.bytes.append(contentsOf: value) }
    }

    mutating func attribute<Integer: FixedWidthInteger>(_ type: UInt16, _ value: Integer) {
        attribute(type) { $0.append(value) }
    }

    /// A string with its terminating zero.
    mutating func attribute(_ type: UInt16, _ value: String) {
        attribute(type, Array(value.utf8) + [0])
    }

    /// An attribute whose content `body` appends; padded to 4 bytes.
    mutating func attribute(_ type: UInt16, _ body: (inout NetlinkMessage) -> Void) {
        let start = bytes.count
        append(UInt16(0))
        append(type)
        body(&self)
        store(UInt16(bytes.count - start), at: start)
        while bytes.count % 4 != 0 { bytes.append(0) }
        finish()
    }

    private mutating func finish() {
        if bytes.count >= 4 { store(UInt32(bytes.count), at: 0) }
    }

    private mutating func store<Integer: FixedWidthInteger>(_ value: Integer, at offset: Int) {
        bytes.withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: offset, as: Integer.self) }
    }
}

/// One message of a reply.
struct NetlinkReply: Equatable {
    let type: UInt16
    let sequence: UInt32
    /// Without the header.
    let payload: ArraySlice<UInt8>

    static let error: UInt16 = 2
    static let done: UInt16 = 3

    /// The messages of a datagram, as far as they are whole; `nil` when one claims a length it does not have.
    static func parse(_ datagram: ArraySlice<UInt8>) -> [NetlinkReply]? {
        var replies: [NetlinkReply] = []
        var rest = datagram
        while !rest.isEmpty {
            guard let length = rest.integer(at: 0, as: UInt32.self), let type = rest.integer(at: 4, as: UInt16.self),
                let sequence = rest.integer(at: 8, as: UInt32.self),
                length >= UInt32(NetlinkMessage.headerBytes), Int(length) <= rest.count
            else { return nil }
            let payload = rest.dropFirst(NetlinkMessage.headerBytes).prefix(Int(length) - NetlinkMessage.headerBytes)
            replies.append(NetlinkReply(type: type, sequence: sequence, payload: payload))
            rest = rest.dropFirst((Int(length) + 3) & ~3)
        }
        return replies
    }

    /// The attributes after a fixed part of `offset` bytes; the last of a type wins. A damaged one ends the list.
    func attributes(after offset: Int) -> [UInt16: ArraySlice<UInt8>] {
        var found: [UInt16: ArraySlice<UInt8>] = [:]
        var rest = payload.dropFirst(offset)
        while let length = rest.integer(at: 0, as: UInt16.self), let type = rest.integer(at: 2, as: UInt16.self),
            length >= 4, Int(length) <= rest.count
        {
            // The two high bits are flags.
            found[type & 0x3fff] = rest.dropFirst(4).prefix(Int(length) - 4)
            rest = rest.dropFirst((Int(length) + 3) & ~3)
        }
        return found
    }
}

extension ArraySlice<UInt8> {
    /// In host byte order; `nil` beyond the end.
    func integer<Integer: FixedWidthInteger>(at offset: Int, as type: Integer.Type = Integer.self) -> Integer? {
        guard count - offset >= MemoryLayout<Integer>.size else { return nil }
        return withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
    }
}
