public import FoundationEssentials
import SwiftASN1
public import X509

/// The certificates that one CA has taken back before their end (RFC 5280 section 5): a complete list, signed by that CA.
///
/// Decoding proves its form only; `isSigned(by:)` proves whose word it is. A list that has run out goes on being honoured: what was
/// revoked is not trusted again because somebody forgot to publish. Lists of changes only (delta), of a part of the certificates, and
/// of other CAs' certificates (indirect) are refused: taken for complete, they would let in what is revoked elsewhere.
public struct RevocationList: Sendable {
    /// Of one list in DER.
    public static let bytesMax = 512 * 1024
    public static let entriesMax = 16_384

    /// Why and when one certificate was revoked.
    public struct Entry: Hashable, Sendable, CustomStringConvertible {
        public let date: Date
        /// RFC 5280 section 5.3.1; `nil` where the CA does not say.
        public let reason: Reason?

        public var description: String {
            "revoked on \(timestamp(date))" + (reason.map { " (\($0))" } ?? "")
        }
    }

    public enum Reason: Int, Sendable, CaseIterable, CustomStringConvertible {
        case unspecified = 0
        case keyCompromise = 1
        case caCompromise = 2
        case affiliationChanged = 3
        case superseded = 4
        case cessationOfOperation = 5
        case certificateHold = 6
        case privilegeWithdrawn = 9
        case aaCompromise = 10

        public var description: String {
            switch self {
            case .unspecified: "unspecified"
            case .keyCompromise: "key compromise"
            case .caCompromise: "CA compromise"
            case .affiliationChanged: "affiliation changed"
            case .superseded: "superseded"
            case .cessationOfOperation: "cessation of operation"
            case .certificateHold: "on hold"
            case .privilegeWithdrawn: "privilege withdrawn"
            case .aaCompromise: "AA compromise"
            }
        }
    }

    /// As it was read.
    public let der: [UInt8]
    public let issuer: DistinguishedName
    public let thisUpdate: Date
    /// When the CA meant to have published a newer one; `nil` where it does not say.
    public let nextUpdate: Date?
    /// Rises with each list of one CA; big-endian without leading zeros, `nil` where the CA does not count.
    public let number: [UInt8]?

    /// By serial number, without leading zeros.
    let entries: [[UInt8]: Entry]
    let authorityKeyIdentifier: [UInt8]?
    let algorithm: Certificate.SignatureAlgorithm
    let signed: ArraySlice<UInt8>
    let signature: [UInt8]

    public var count: Int { entries.count }

    /// What the list says of a certificate that its issuer issued; whether it did is the caller's to know.
    public func entry(for certificate: Certificate) -> Entry? {
        entries[Array(certificate.serialNumber.bytes.drop { $0 == 0 })]
    }

    /// Whether this CA made the list, and may: its name, its key identifier, its key usage and the signature say so.
    public func isSigned(by authority: Certificate) -> Bool {
        guard authority.subject == issuer else { return false }
        if let usage = try? authority.extensions.keyUsage, !usage.cRLSign { return false }
        if let named = authorityKeyIdentifier,
            let own = try? authority.extensions.subjectKeyIdentifier?.keyIdentifier, !named.elementsEqual(own)
        {
            return false
        }
        return authority.publicKey.isValidSignature(signature, for: signed, signatureAlgorithm: algorithm)
    }

    /// Past its `nextUpdate`.
    public func isOverdue(at now: Date) -> Bool { nextUpdate.map { $0 < now } ?? false }
}

extension RevocationList: Hashable {
    public static func == (left: RevocationList, right: RevocationList) -> Bool { left.der == right.der }
    public func hash(into hasher: inout Hasher) { hasher.combine(der) }
}

/// Why something is not a revocation list that can be honoured.
public enum RevocationListError: Error, Hashable, Sendable, CustomStringConvertible {
    case tooLarge(bytes: Int)
    case tooManyEntries(Int)
    case malformed(String)
    case unacceptableAlgorithm
    /// It says less than everything about its CA's certificates.
    case incomplete(String)
    case criticalExtension(String)

    public var description: String {
        switch self {
        case .tooLarge(let bytes): "\(bytes) bytes; at most \(RevocationList.bytesMax) are read"
        case .tooManyEntries(let count): "\(count) entries; at most \(RevocationList.entriesMax) are kept"
        case .malformed(let problem): "not a certificate revocation list in DER: \(problem)"
        case .unacceptableAlgorithm: "signed with an algorithm that is not accepted (SHA-1 or unknown)"
        case .incomplete(let kind): "\(kind): only a complete list of the CA's own certificates can be honoured"
        case .criticalExtension(let oid): "critical extension \(oid) is not understood"
        }
    }
}
