internal import FoundationEssentials
internal import SPIFFE
internal import SwiftASN1
internal import X509

/// The authorities' certificates, as X509-SVID section 2 to 5 and RFC 5280 want them; leaves are `LeafTemplate`'s.
///
/// Every authority has a subject of its own (its serial number is in it): verifiers that look for issuers by name find exactly one.
enum CertificateProfile {
    /// Certificates are valid from this long before their making, for verifiers whose clocks are late.
    static let backdating: Duration = .seconds(120)
    static let serialNumberSize = 16

    struct Validity: Equatable {
        var notBefore: Date
        var notAfter: Date

        /// From `now` for `lifetime`, but not beyond the issuer's end.
        init(now: Date, lifetime: Duration, issuerNotAfter: Date?) {
            notBefore = now.advanced(by: .zero - backdating).inWholeSeconds
            let wanted = now.advanced(by: lifetime).inWholeSeconds
            notAfter = min(wanted, issuerNotAfter ?? wanted)
        }
    }

    /// 16 random bytes, positive: the top bit is clear, so that DER needs no 17th.
    static func serialNumber(_ random: RandomBytes) -> Certificate.SerialNumber {
        var bytes = random(serialNumberSize)
        bytes[0] &= 0x7f
        if bytes.allSatisfy({ $0 == 0 }) { bytes[serialNumberSize - 1] = 1 }
        return Certificate.SerialNumber(bytes: bytes)
    }

    static func root(
        key: Certificate.PrivateKey, trustDomain: TrustDomain, serial: Certificate.SerialNumber, validity: Validity
    ) throws -> Certificate {
        let subject = try authoritySubject("Culvert Root", serial: serial)
        let keyIdentifier = SubjectKeyIdentifier(hash: key.publicKey)
        return try Certificate(
            version: .v3,
            serialNumber: serial,
            publicKey: key.publicKey,
            notValidBefore: validity.notBefore,
            notValidAfter: validity.notAfter,
            issuer: subject,
            subject: subject,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: authorityExtensions(
                trustDomain: trustDomain, pathLength: 1, key: keyIdentifier, issuer: keyIdentifier),
            issuerPrivateKey: key
        )
    }

    static func intermediate(
        key: Certificate.PublicKey,
        trustDomain: TrustDomain,
        serial: Certificate.SerialNumber,
        validity: Validity,
        issuer: SigningAuthority
    ) throws -> Certificate {
        try Certificate(
            version: .v3,
            serialNumber: serial,
            publicKey: key,
            notValidBefore: validity.notBefore,
            notValidAfter: validity.notAfter,
            issuer: issuer.certificate.subject,
            subject: authoritySubject("Culvert Intermediate", serial: serial),
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: authorityExtensions(
                trustDomain: trustDomain, pathLength: 0, key: SubjectKeyIdentifier(hash: key),
                issuer: issuer.keyIdentifier),
            issuerPrivateKey: issuer.key
        )
    }

    private static func authoritySubject(
        _ name: String, serial: Certificate.SerialNumber
    ) throws -> DistinguishedName {
        let serialNumber: ASN1ObjectIdentifier = [2, 5, 4, 5]
        return try DistinguishedName([
            .init([.init(type: .RDNAttributeType.organizationName, utf8String: "Culvert")]),
            .init([.init(type: .RDNAttributeType.commonName, utf8String: name)]),
            .init([.init(type: serialNumber, printableString: hexadecimal(serial.bytes))]),
        ])
    }

    private static func authorityExtensions(
        trustDomain: TrustDomain, pathLength: Int, key: SubjectKeyIdentifier, issuer: SubjectKeyIdentifier
    ) throws -> Certificate.Extensions {
        try Certificate.Extensions {
            Critical(BasicConstraints.isCertificateAuthority(maxPathLength: pathLength))
            Critical(KeyUsage(keyCertSign: true, cRLSign: true))
            SubjectAlternativeNames([.uniformResourceIdentifier(trustDomain.id.description)])
            key
            AuthorityKeyIdentifier(keyIdentifier: issuer.keyIdentifier)
        }
    }
}
