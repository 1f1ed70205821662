internal import SPIFFE
public import X509

/// Names an authority by its key: the lower-case hexadecimal subject key identifier of its certificate.
public struct AuthorityID: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let description: String

    /// nil for anything but 1 to 32 bytes in lower-case hexadecimal.
    public init?(_ text: String) {
        let digits = text.utf8
        guard (2...64).contains(digits.count), digits.count % 2 == 0,
            digits.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else { return nil }
        description = text
    }

    /// The authority that holds `publicKey` (RFC 5280 section 4.2.1.2, method 1).
    public init(publicKey: Certificate.PublicKey) {
        description = hexadecimal(SubjectKeyIdentifier(hash: publicKey).keyIdentifier)
    }

    init(keyIdentifier: [UInt8]) { description = hexadecimal(keyIdentifier) }

    public static func < (lhs: AuthorityID, rhs: AuthorityID) -> Bool {
        lhs.description < rhs.description
    }
}
