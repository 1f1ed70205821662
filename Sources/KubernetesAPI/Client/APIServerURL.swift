/// `https://host:port/path`, in its parts.
struct APIServerURL: Equatable {
    var scheme = ""
    /// An IPv6 address without its brackets.
    var host: String?
    /// With its colon; empty for the scheme's own.
    var port = ""
    var path = ""

    init(_ text: String) {
        guard let separator = text.firstRange(of: "://") else { return }
        scheme = String(text[..<separator.lowerBound])
        let rest = text[separator.upperBound...]
        let authority = rest.prefix { $0 != "/" }
        path = String(rest.dropFirst(authority.count))
        if authority.first == "[", let end = authority.firstIndex(of: "]") {
            host = String(authority[authority.index(after: authority.startIndex)..<end])
            port = String(authority[authority.index(after: end)...])
        } else if let colon = authority.lastIndex(of: ":") {
            host = String(authority[..<colon])
            port = String(authority[colon...])
        } else {
            host = String(authority)
        }
    }

    var isSecure: Bool { scheme == "https" }

    var text: String {
        let host = host ?? ""
        return scheme + "://" + (host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host) + port + path
    }
}
