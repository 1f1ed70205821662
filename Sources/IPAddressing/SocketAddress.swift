/// An IP address and a TCP port: where a connection goes to or comes from.
public struct SocketAddress: Hashable, Sendable {
    public let ip: IPAddress
    /// Host byte order.
    public let port: UInt16

    public init(_ ip: IPAddress, port: UInt16) {
        self.ip = ip
        self.port = port
    }
}

extension SocketAddress: LosslessStringConvertible {
    /// `a.b.c.d:port`, or `[v6]:port`: the form of an HTTP/2 `:authority` (RFC 9113 8.5).
    public var description: String {
        switch ip.family {
        case .v4: "\(ip):\(port)"
        case .v6: "[\(ip)]:\(port)"
        }
    }

    /// Parses `a.b.c.d:port` or `[v6]:port`; the port is decimal, 1 to 65535, without sign or leading zeros.
    public init?(_ description: String) {
        let text = Array(description.utf8)
        guard let colon = text.lastIndex(of: UInt8(ascii: ":")), let port = SocketAddress.port(text[(colon + 1)...])
        else { return nil }
        var host = text[..<colon]
        let bracketed = host.first == UInt8(ascii: "[") && host.last == UInt8(ascii: "]") && host.count > 2
        if bracketed { host = host.dropFirst().dropLast() }
        guard let ip = IPAddress(text: host), bracketed == host.contains(UInt8(ascii: ":")) else { return nil }
        self.init(ip, port: port)
    }

    private static func port(_ text: ArraySlice<UInt8>) -> UInt16? {
        guard (1...5).contains(text.count), text.first != UInt8(ascii: "0"),
            text.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return UInt16(String(decoding: text, as: UTF8.self))
    }
}
