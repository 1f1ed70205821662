/// The name of a workload, or of a trust domain: `spiffe://<trust domain>[/<path>]` (SPIFFE-ID section 2).
///
/// At most 2048 bytes, all of them ASCII. Parsed byte by byte: there is one text for each ID, and comparing never folds
/// case or normalises Unicode.
public struct SPIFFEID: Hashable, Sendable {
    /// In bytes.
    public static let maximumBytes = 2048

    private static let scheme = "spiffe://"

    /// The whole URI. ASCII by construction, so that `String`'s equality and order are those of the bytes.
    public let description: String
    public let trustDomain: TrustDomain

    public init(_ uri: String) throws(SPIFFEIDError) {
        let bytes = uri.utf8
        guard !bytes.isEmpty else { throw .empty }
        guard bytes.starts(with: Self.scheme.utf8) else { throw .scheme }
        guard bytes.count <= Self.maximumBytes else { throw .tooLong(bytes.count) }
        let rest = uri[...].utf8.dropFirst(Self.scheme.utf8.count)
        let name = rest.prefix { $0 != UInt8(ascii: "/") }
        trustDomain = try TrustDomain(bytes: name, offset: Self.scheme.utf8.count)
        try Self.checkPath(rest[name.endIndex...], offset: Self.scheme.utf8.count + name.count)
        description = uri
    }

    /// The path is empty, or `/` and segments separated by `/`.
    public init(trustDomain: TrustDomain, path: String) throws(SPIFFEIDError) {
        guard path.utf8.isEmpty || path.utf8.first == UInt8(ascii: "/") else { throw .pathWithoutSlash }
        try Self.checkPath(path[...].utf8, offset: 0)
        let uri = Self.scheme + trustDomain.name + path
        guard uri.utf8.count <= Self.maximumBytes else { throw .tooLong(uri.utf8.count) }
        self.trustDomain = trustDomain
        description = uri
    }

    /// The ID whose path is these segments, none of which may hold a `/`.
    public init(trustDomain: TrustDomain, segments: [String]) throws(SPIFFEIDError) {
        for segment in segments where segment.utf8.contains(UInt8(ascii: "/")) {
            throw .byteInPath(UInt8(ascii: "/"), at: 0)
        }
        try self.init(trustDomain: trustDomain, path: segments.map { "/" + $0 }.joined())
    }

    /// The identity of a Kubernetes service account, as Istio writes it: `/ns/<namespace>/sa/<service account>`.
    public init(trustDomain: TrustDomain, namespace: String, serviceAccount: String) throws(SPIFFEIDError) {
        try self.init(trustDomain: trustDomain, segments: ["ns", namespace, "sa", serviceAccount])
    }

    init(of trustDomain: TrustDomain) {
        self.trustDomain = trustDomain
        description = Self.scheme + trustDomain.name
    }

    /// `""`, or begins with `/`.
    public var path: String {
        String(Substring(description.utf8.dropFirst(Self.scheme.utf8.count + trustDomain.name.utf8.count)))
    }

    /// Namespace and service account; `nil` unless the path is exactly `/ns/<namespace>/sa/<service account>`.
    public var workload: (namespace: String, serviceAccount: String)? {
        let segments = path.split(separator: "/")
        guard segments.count == 4, segments[0] == "ns", segments[2] == "sa" else { return nil }
        return (String(segments[1]), String(segments[3]))
    }

    public func isMember(of trustDomain: TrustDomain) -> Bool { self.trustDomain == trustDomain }

    private static func checkPath(_ path: Substring.UTF8View, offset: Int) throws(SPIFFEIDError) {
        let slash = UInt8(ascii: "/")
        var segment = offset
        var length = 0
        var dots = 0
        for (index, byte) in path.enumerated() {
            if byte == slash {
                if index > 0 { try checkSegment(length: length, dots: dots, at: segment) }
                (segment, length, dots) = (offset + index + 1, 0, 0)
                continue
            }
            guard isSegmentByte(byte) else { throw .byteInPath(byte, at: offset + index) }
            length += 1
            if byte == UInt8(ascii: ".") { dots += 1 }
        }
        guard !path.isEmpty else { return }
        guard length > 0 else { throw .trailingSlash }
        try checkSegment(length: length, dots: dots, at: segment)
    }

    private static func checkSegment(length: Int, dots: Int, at offset: Int) throws(SPIFFEIDError) {
        guard length > 0 else { throw .emptySegment(at: offset) }
        guard length > 2 || dots < length else { throw .dotSegment(at: offset) }
    }

    private static func isSegmentByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

extension SPIFFEID: Comparable {
    public static func < (left: SPIFFEID, right: SPIFFEID) -> Bool { left.description < right.description }
}

extension SPIFFEID: CustomStringConvertible {}

extension SPIFFEID: Codable {
    public init(from decoder: any Decoder) throws {
        try self.init(try decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
