/// The name of a trust domain: everything that shares one set of roots (SPIFFE-ID section 2.1).
///
/// 1 to 255 bytes of `a-z 0-9 . - _`. What looks like an address or a DNS name gets no special treatment.
public struct TrustDomain: Hashable, Sendable {
    /// In bytes.
    public static let maximumBytes = 255

    /// ASCII by construction, so that `String`'s equality and order are those of the bytes.
    public let name: String

    public init(_ name: String) throws(SPIFFEIDError) {
        guard !name.utf8.isEmpty else { throw .missingTrustDomain }
        self.name = try Self.checked(name.utf8[...], offset: 0)
    }

    /// For an authority that is created now: refuses also the names that the grammar allows but that only a mistake
    /// produces (`.`, `-a`, `a..b`).
    public static func forNewAuthority(_ name: String) throws(SPIFFEIDError) -> TrustDomain {
        let domain = try TrustDomain(name)
        let labels = domain.name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard labels.allSatisfy({ !$0.isEmpty }), let first = domain.name.utf8.first, let last = domain.name.utf8.last,
            isLetterOrDigit(first), isLetterOrDigit(last)
        else { throw .unfitForAuthority }
        return domain
    }

    /// The ID of the trust domain itself, which its authorities carry.
    public var id: SPIFFEID { SPIFFEID(of: self) }

    /// For bytes that were found between `spiffe://` and the path.
    init(bytes: Substring.UTF8View, offset: Int) throws(SPIFFEIDError) {
        guard !bytes.isEmpty else { throw .missingTrustDomain }
        name = try Self.checked(bytes, offset: offset)
    }

    private static func checked(_ bytes: Substring.UTF8View, offset: Int) throws(SPIFFEIDError) -> String {
        for (index, byte) in bytes.enumerated() {
            guard isLetterOrDigit(byte) || ".-_".utf8.contains(byte) else {
                throw .byteInTrustDomain(byte, at: offset + index)
            }
        }
        guard bytes.count <= maximumBytes else { throw .trustDomainTooLong(bytes.count) }
        return String(Substring(bytes))
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}

extension TrustDomain: Comparable {
    public static func < (left: TrustDomain, right: TrustDomain) -> Bool { left.name < right.name }
}

extension TrustDomain: CustomStringConvertible {
    public var description: String { name }
}

extension TrustDomain: Codable {
    public init(from decoder: any Decoder) throws {
        try self.init(try decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(name)
    }
}
