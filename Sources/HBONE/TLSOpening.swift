/// The first bytes that a peer sent, kept to tell the operator what it speaks if it is not TLS.
struct TLSOpening {
    private var bytes: UInt64 = 0
    private var count = 0

    mutating func note(_ data: UnsafeRawBufferPointer) {
        guard count < 8 else { return }
        for byte in data.prefix(8 - count) {
            bytes = bytes << 8 | UInt64(byte)
            count += 1
        }
    }

    private var text: [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: bytes >> (8 * (count - 1 - $0))) } }

    /// What it speaks instead; `nil` if these bytes could begin a TLS record.
    var notTLS: String? {
        let text = text
        guard let first = text.first, first < 0x14 || first > 0x17 else { return nil }
        if text.starts(with: "PRI ".utf8) { return "not TLS: got an HTTP/2 preface in plaintext" }
        if text.starts(with: "HTTP/".utf8) { return "not TLS: got an HTTP/1 response" }
        if text.starts(with: "SSH-".utf8) { return "not TLS: got an SSH banner" }
        if Self.beginsHTTP1Request(text) { return "not TLS: got an HTTP/1 request" }
        return "not TLS: the first byte is 0x" + (first < 16 ? "0" : "") + String(first, radix: 16)
    }

    /// A method, then a space or the end of what was kept.
    static func beginsHTTP1Request(_ text: some Collection<UInt8>) -> Bool {
        let method = text.prefix { 0x41...0x5a ~= $0 }
        guard method.count >= 3 else { return false }
        return method.count == text.count || text.dropFirst(method.count).first == 0x20
    }
}
