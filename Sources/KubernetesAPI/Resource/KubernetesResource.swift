/// A kind of the API by its group, version and plural: what a request's path is made of.
public struct KubernetesResource: Sendable, Hashable {
    /// Empty for the core group.
    public let group: String
    public let version: String
    /// The plural in paths: `pods`.
    public let plural: String
    public let kind: String
    public let isNamespaced: Bool

    public init(group: String = "", version: String, plural: String, kind: String, isNamespaced: Bool = true) {
        self.group = group
        self.version = version
        self.plural = plural
        self.kind = kind
        self.isNamespaced = isNamespaced
    }

    /// `v1`, or `discovery.k8s.io/v1`.
    public var apiVersion: String { group.isEmpty ? version : group + "/" + version }

    /// The path of the whole kind, of one namespace of it, of one object, or of one object's part. Names go in percent-encoded.
    public func path(namespace: String? = nil, name: String? = nil, subresource: String? = nil) -> String {
        var path = group.isEmpty ? "/api/" + version : "/apis/" + group + "/" + version
        if isNamespaced, let namespace { path += "/namespaces/" + Self.encoded(namespace) }
        path += "/" + plural
        if let name { path += "/" + Self.encoded(name) }
        if let subresource { path += "/" + subresource }
        return path
    }

    /// Percent-encoded but for RFC 3986's unreserved characters.
    static func encoded(_ text: String) -> String {
        var encoded = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                encoded += digits.count == 1 ? "%0" + digits : "%" + digits
            }
        }
        return encoded
    }
}
