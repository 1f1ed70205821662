public import IPAddressing

/// Where a server is found: `name:port`, `10.0.0.1:15012` or `[fd00::1]:15012`.
public struct HostPort: Hashable, Sendable, CustomStringConvertible {
    /// A name, or an address without brackets.
    public let host: String
    public let port: UInt16

    public init?(_ text: String) {
        let end = text.utf8.lastIndex(of: UInt8(ascii: ":"))
        guard let end, let port = UInt16(text[text.utf8.index(after: end)...]), port > 0 else { return nil }
        self.init(host: text[..<end], port: port)
    }

    /// `host` may have brackets; an IPv6 address must.
    public init?(host: some StringProtocol, port: UInt16) {
        let text = String(host)
        if text.utf8.first == UInt8(ascii: "[") {
            guard text.utf8.last == UInt8(ascii: "]"),
                let address = IPAddress(String(text.dropFirst().dropLast())), address.family == .v6
            else { return nil }
            self.host = "\(address)"
        } else {
            guard IPAddress(text)?.family == .v4 || Self.isName(text) else { return nil }
            self.host = text
        }
        self.port = port
    }

    /// nil for a name.
    public var address: IPAddress? { IPAddress(host) }

    public var description: String { address?.family == .v6 ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Letters, digits and hyphens between dots, and not only digits: that would be a broken address.
    public static func isName(_ text: String) -> Bool {
        let labels = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let isLetter: (UInt8) -> Bool = { (0x61...0x7a).contains($0 | 0x20) }
        let isFit = labels.allSatisfy { label in
            (1...63).contains(label.count)
                && label.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || $0 == UInt8(ascii: "-") }
        }
        return isFit && text.utf8.count <= 253 && text.utf8.contains(where: isLetter)
    }
}
