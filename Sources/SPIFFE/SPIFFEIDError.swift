/// Why a text is not a SPIFFE ID, or not a trust domain's name; written for the person who typed it.
///
/// No case carries the text itself: it may come from a peer's certificate and end in a log.
public enum SPIFFEIDError: Error, Hashable, Sendable {
    case empty
    /// Does not begin with `spiffe://`.
    case scheme
    case missingTrustDomain
    /// In bytes.
    case trustDomainTooLong(Int)
    /// In bytes.
    case tooLong(Int)
    /// The byte, and its offset in the text that was given.
    case byteInTrustDomain(UInt8, at: Int)
    /// The byte, and its offset in the text that was given.
    case byteInPath(UInt8, at: Int)
    case trailingSlash
    case emptySegment(at: Int)
    case dotSegment(at: Int)
    /// A path that was given by itself does not begin with `/`.
    case pathWithoutSlash
    /// Legal in the grammar, but a new authority must not take such a name.
    case unfitForAuthority
}

extension SPIFFEIDError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .empty:
            "the SPIFFE ID is empty; expected spiffe://<trust domain>/<path>"
        case .scheme:
            "a SPIFFE ID begins with spiffe:// in lower case, then the trust domain"
        case .missingTrustDomain:
            "the trust domain is missing; expected spiffe://<trust domain>/<path>"
        case .trustDomainTooLong(let count):
            "the trust domain has \(count) bytes; at most \(TrustDomain.maximumBytes) are allowed"
        case .tooLong(let count):
            "the SPIFFE ID has \(count) bytes; at most \(SPIFFEID.maximumBytes) are allowed"
        case .byteInTrustDomain(let byte, let offset):
            "\(Self.name(byte)) at byte \(offset) is not allowed in a trust domain: \(Self.trustDomainAdvice(byte))"
        case .byteInPath(let byte, let offset):
            "\(Self.name(byte)) at byte \(offset) is not allowed in a path: \(Self.pathAdvice(byte))"
        case .trailingSlash:
            "a SPIFFE ID does not end in \"/\"; remove it"
        case .emptySegment(let offset):
            "the path has an empty segment at byte \(offset); write one \"/\" instead of two"
        case .dotSegment(let offset):
            "the path segment at byte \(offset) is \".\" or \"..\"; such segments are not allowed"
        case .pathWithoutSlash:
            "a path begins with \"/\", or is empty"
        case .unfitForAuthority:
            "a new trust domain's name begins and ends with a letter or digit, and has no two dots in a row"
        }
    }

    private static func name(_ byte: UInt8) -> String {
        (0x21...0x7e).contains(byte)
            ? "\"\(Character(Unicode.Scalar(byte)))\"" : "byte 0x\(hexadecimal(CollectionOfOne(byte)))"
    }

    private static func trustDomainAdvice(_ byte: UInt8) -> String {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): "write it in lower case"
        case UInt8(ascii: ":"): "a trust domain has no scheme and no port"
        case UInt8(ascii: "@"): "a SPIFFE ID has no user part"
        case UInt8(ascii: "/"): "give the name only, without scheme and path"
        default: common(byte, alphabet: "a-z, 0-9, \".\", \"-\" and \"_\"")
        }
    }

    private static func pathAdvice(_ byte: UInt8) -> String {
        common(byte, alphabet: "A-Z, a-z, 0-9, \".\", \"-\" and \"_\"")
    }

    private static func common(_ byte: UInt8, alphabet: String) -> String {
        switch byte {
        case UInt8(ascii: "%"): "percent-encoding is never used, not even for legal characters"
        case UInt8(ascii: "?"): "a SPIFFE ID has no query"
        case UInt8(ascii: "#"): "a SPIFFE ID has no fragment"
        default: "only \(alphabet) are"
        }
    }
}
