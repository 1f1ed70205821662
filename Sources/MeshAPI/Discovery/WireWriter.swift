/// Writes the few kinds of field that a discovery response has (protocol buffers, wire type 2), where what is shared between clients is
/// to be written once only.
struct WireWriter {
    private(set) var bytes: [UInt8] = []

    static func encoded(_ write: (inout WireWriter) -> Void) -> [UInt8] {
        var writer = WireWriter()
        write(&writer)
        return writer.bytes
    }

    /// Text or bytes. Empty ones are left out, as in all of proto3.
    mutating func field(_ number: UInt8, _ content: some Collection<UInt8>) {
        guard !content.isEmpty else { return }
        begin(number, count: content.count)
        bytes.append(contentsOf: content)
    }

    mutating func message(_ number: UInt8, _ write: (inout WireWriter) -> Void) {
        let content = Self.encoded(write)
        begin(number, count: content.count)
        bytes.append(contentsOf: content)
    }

    /// As it is: fields with their tags.
    mutating func append(_ encoded: [UInt8]) { bytes.append(contentsOf: encoded) }

    mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

    private mutating func begin(_ number: UInt8, count: Int) {
        bytes.append(number << 3 | 2)
        var rest = UInt64(count)
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}
