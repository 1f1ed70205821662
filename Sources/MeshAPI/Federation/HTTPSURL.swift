/// An `https` URL as bundle endpoints have (SPIFFE Federation section 5.2): a host, perhaps a port, a path, and nobody's name in it.
public struct HTTPSURL: Hashable, Sendable, CustomStringConvertible {
    private static let scheme = "https://"
    private static let bytesMax = 2048

    public let server: HostPort
    /// With the query, if there is one; begins with `/`.
    public let path: String

    public init?(_ text: String) {
        let bytes = text.utf8
        guard bytes.count <= Self.bytesMax, bytes.allSatisfy({ (0x21...0x7e).contains($0) }),
            text.prefix(Self.scheme.count).lowercased() == Self.scheme, !bytes.contains(UInt8(ascii: "#"))
        else { return nil }
        let rest = text.dropFirst(Self.scheme.count)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        guard !authority.contains("@") else { return nil }
        let server = HostPort(String(authority)) ?? HostPort(host: authority, port: 443)
        guard let server else { return nil }
        let path = rest.dropFirst(authority.count)
        self.server = server
        self.path = path.hasPrefix("/") ? String(path) : "/\(path)"
    }

    private init(server: HostPort, path: String) {
        self.server = server
        self.path = path
    }

    /// Where a redirection leads: another such URL, or a path on the same server.
    func redirected(to location: String) -> HTTPSURL? {
        if let url = HTTPSURL(location) { return url }
        guard location.hasPrefix("/"), !location.hasPrefix("//"), location.utf8.count <= Self.bytesMax,
            location.utf8.allSatisfy({ (0x21...0x7e).contains($0) }), !location.contains("#")
        else { return nil }
        return HTTPSURL(server: server, path: location)
    }

    /// As the `Host` header names the server.
    var hostHeader: String { server.port == 443 ? String(server.description.dropLast(4)) : server.description }

    public var description: String { Self.scheme + hostHeader + path }
}
