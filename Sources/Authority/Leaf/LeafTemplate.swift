internal import FoundationEssentials
internal import Glibc
internal import SPIFFE
internal import SwiftASN1
internal import X509

/// What a leaf is to say.
struct LeafContent: Sendable {
    let id: SPIFFEID
    /// Beside the ID; DER.
    var names: [UInt8] = []
    let key: CertifiableKey
    let serial: Certificate.SerialNumber
    let validity: CertificateProfile.Validity
}

/// The leaves of one authority, as X509-SVID sections 2 to 5 and RFC 5280 want them: what is the same in all of them is encoded once.
///
/// What it makes is looked at by `LeafInspection`, which shares no code with it.
struct LeafTemplate: Sendable {
    private static let version: [UInt8] = [0xa0, 0x03, 0x02, 0x01, 0x02]
    private static let alternativeNames: [UInt8] = [0x06, 0x03, 0x55, 0x1d, 0x11]
    private static let subjectKey: [UInt8] = [0x06, 0x03, 0x55, 0x1d, 0x0e]

    /// AlgorithmIdentifier.
    let algorithm: [UInt8]
    private let issuer: [UInt8]
    private let subject: [UInt8]
    private let usages: [UInt8]
    private let usagesRSA: [UInt8]
    private let authorityKey: [UInt8]

    init(
        issuer: DistinguishedName, algorithm: Certificate.SignatureAlgorithm, authorityKey: SubjectKeyIdentifier
    ) throws {
        self.algorithm = try Self.identifier(of: algorithm)
        self.issuer = try Self.encoded(issuer)
        subject = try Self.encoded(DistinguishedName { OrganizationName("Culvert") })
        usages = try Self.usages(isRSA: false)
        usagesRSA = try Self.usages(isRSA: true)
        self.authorityKey = try Self.encoded(
            Certificate.Extension(AuthorityKeyIdentifier(keyIdentifier: authorityKey.keyIdentifier), critical: false))
    }

    /// TBSCertificate (RFC 5280 section 4.1), DER.
    func unsigned(_ content: LeafContent) -> [UInt8] {
        let uri = [UInt8](der: 0x86, Array(content.id.description.utf8))
        let names = [UInt8](
            der: 0x30, Self.alternativeNames, [UInt8](der: 0x04, [UInt8](der: 0x30, uri, content.names)))
        let subjectKey = [UInt8](
            der: 0x30, Self.subjectKey, [UInt8](der: 0x04, [UInt8](der: 0x04, content.key.identifier)))
        let extensions = [UInt8](
            der: 0x30, content.key.isRSA ? usagesRSA : usages, names, subjectKey, authorityKey)
        let validity = [UInt8](
            der: 0x30, Self.time(content.validity.notBefore), Self.time(content.validity.notAfter))
        return [UInt8](
            der: 0x30, Self.version, Self.integer(content.serial), algorithm, issuer, validity, subject,
            content.key.info, [UInt8](der: 0xa3, extensions))
    }

    /// The certificate: `unsigned` and the signature over it.
    func signed(_ unsigned: [UInt8], _ signature: [UInt8]) -> [UInt8] {
        [UInt8](der: 0x30, unsigned, algorithm, [UInt8](der: 0x03, [0], signature))
    }

    static func encoded(_ value: some DERSerializable) throws -> [UInt8] {
        var serializer = DER.Serializer()
        try serializer.serialize(value)
        return serializer.serializedBytes
    }

    private static func usages(isRSA: Bool) throws -> [UInt8] {
        let extensions = try Certificate.Extensions {
            Critical(BasicConstraints.notCertificateAuthority)
            Critical(KeyUsage(digitalSignature: true, keyEncipherment: isRSA))
            try ExtendedKeyUsage([.serverAuth, .clientAuth])
        }
        return try extensions.flatMap { try encoded($0) }
    }

    private static func integer(_ serial: Certificate.SerialNumber) -> [UInt8] {
        let digits = Array(serial.bytes.drop { $0 == 0 })
        return [UInt8](der: 0x02, digits.first.map { $0 < 0x80 } ?? false ? [] : [0], digits)
    }

    /// UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 section 4.1.2.5).
    private static func time(_ date: Date) -> [UInt8] {
        var seconds = time_t(date.unixSeconds)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let year = Int(parts.tm_year) + 1900
        var digits: [UInt8] = []
        func append(_ value: Int) {
            digits.append(0x30 + UInt8(value / 10 % 10))
            digits.append(0x30 + UInt8(value % 10))
        }
        if year >= 2050 { append(year / 100) }
        append(year % 100)
        for value in [parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec] { append(Int(value)) }
        digits.append(UInt8(ascii: "Z"))
        return [UInt8](der: year >= 2050 ? 0x18 : 0x17, digits)
    }

    private static func identifier(of algorithm: Certificate.SignatureAlgorithm) throws -> [UInt8] {
        switch algorithm {
        case .ecdsaWithSHA256: [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]
        case .ecdsaWithSHA384: [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03]
        case .ecdsaWithSHA512: [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04]
        case .ed25519: [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70]
        case .sha256WithRSAEncryption:
            [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00]
        default: throw AuthorityError.signing("leaves are not signed with \(algorithm)")
        }
    }
}
