import IPAddressing
import SPIFFE
import SwiftASN1
import X509

/// A public key.
struct KeyReport: Encodable, Sendable {
    /// `ECDSA P-256`, `RSA 2048`, `Ed25519`.
    let label: String
    let algorithm: String
    let curve: String?
    let bits: Int?
    /// The point, or the modulus.
    let value: String
    /// RSA only.
    let exponent: String?

    init(_ key: Certificate.PublicKey) {
        let kind = PublicKeyKind(key)
        label = "\(kind)"
        (algorithm, curve, bits) =
            switch kind {
            case .p256: ("ECDSA", "P-256", 256)
            case .p384: ("ECDSA", "P-384", 384)
            case .p521: ("ECDSA", "P-521", 521)
            case .ed25519: ("Ed25519", nil, nil)
            case .rsa(let bits): ("RSA", nil, bits)
            case .unknown: ("unknown", nil, nil)
            }
        let numbers = RSAPublicNumbers(key)
        value = CertificateOutput.hexadecimal(numbers?.modulus ?? Array(key.subjectPublicKeyInfoBytes))
        exponent = numbers.map { CertificateOutput.decimal($0.exponent) }
    }
}

/// Subject alternative names by kind.
struct NameReport: Encodable, Sendable {
    var uri: [String] = []
    var dns: [String] = []
    var ip: [String] = []
    var email: [String] = []
    var other: [String] = []

    init(_ names: SubjectAlternativeNames) {
        for name in names {
            switch name {
            case .uniformResourceIdentifier(let uri): self.uri.append(CertificateOutput.printable(uri))
            case .dnsName(let name): dns.append(CertificateOutput.printable(name))
            case .rfc822Name(let address): email.append(CertificateOutput.printable(address))
            case .ipAddress(let octets):
                let bytes = Array(octets.bytes)
                ip.append(IPAddress(bytes: bytes)?.description ?? CertificateOutput.hexadecimal(bytes))
            default: other.append(CertificateOutput.printable("\(name)"))
            }
        }
    }

    /// In openssl's words.
    var lines: [String] {
        uri.map { "URI:\($0)" } + dns.map { "DNS:\($0)" } + ip.map { "IP Address:\($0)" } + email.map { "email:\($0)" }
            + other
    }
}

/// One extension.
struct ExtensionReport: Encodable, Sendable {
    let oid: String
    let name: String
    let critical: Bool
    let value: [String]

    init(_ member: Certificate.Extension) {
        oid = "\(member.oid)"
        critical = member.critical
        let (name, value) = Self.decoded(member)
        self.name = name
        // Not understood, or not decodable: the bytes themselves.
        self.value = value ?? [CertificateOutput.hexadecimal(member.value, separator: ":")]
    }

    private static func decoded(_ member: Certificate.Extension) -> (name: String, value: [String]?) {
        switch member.oid {
        case .X509ExtensionID.basicConstraints: ("X509v3 Basic Constraints", constraints(member))
        case .X509ExtensionID.keyUsage:
            ("X509v3 Key Usage", (try? KeyUsage(member)).map { [CertificateNames.usages($0).joined(separator: ", ")] })
        case .X509ExtensionID.extendedKeyUsage:
            (
                "X509v3 Extended Key Usage",
                (try? ExtendedKeyUsage(member)).map { [$0.map { "\($0)" }.joined(separator: ", ")] }
            )
        case .X509ExtensionID.subjectAlternativeName:
            ("X509v3 Subject Alternative Name", (try? SubjectAlternativeNames(member)).map { NameReport($0).lines })
        case .X509ExtensionID.subjectKeyIdentifier:
            (
                "X509v3 Subject Key Identifier",
                (try? SubjectKeyIdentifier(member)).map {
                    [CertificateOutput.hexadecimal($0.keyIdentifier, separator: ":")]
                }
            )
        case .X509ExtensionID.authorityKeyIdentifier:
            (
                "X509v3 Authority Key Identifier",
                (try? AuthorityKeyIdentifier(member))?.keyIdentifier.map {
                    [CertificateOutput.hexadecimal($0, separator: ":")]
                }
            )
        case .X509ExtensionID.nameConstraints: ("X509v3 Name Constraints", nameConstraints(member))
        case .X509ExtensionID.authorityInformationAccess:
            (
                "Authority Information Access",
                (try? AuthorityInformationAccess(member)).map { $0.map { CertificateOutput.printable("\($0)") } }
            )
        case [2, 5, 29, 31]: ("X509v3 CRL Distribution Points", nil)
        case [2, 5, 29, 32]: ("X509v3 Certificate Policies", nil)
        default: ("\(member.oid)", nil)
        }
    }

    private static func constraints(_ member: Certificate.Extension) -> [String]? {
        switch try? BasicConstraints(member) {
        case .isCertificateAuthority(let length): ["CA:TRUE" + (length.map { ", pathlen:\($0)" } ?? "")]
        case .notCertificateAuthority: ["CA:FALSE"]
        case nil: nil
        }
    }

    private static func nameConstraints(_ member: Certificate.Extension) -> [String]? {
        guard let constraints = try? NameConstraints(member) else { return nil }
        let permitted = NameReport(.init(constraints.permittedSubtrees)).lines.map { "permitted \($0)" }
        return permitted + NameReport(.init(constraints.excludedSubtrees)).lines.map { "excluded \($0)" }
    }
}

/// Names of things inside certificates, as openssl and step print them.
enum CertificateNames {
    static func signature(_ algorithm: Certificate.SignatureAlgorithm) -> String {
        switch algorithm {
        case .ecdsaWithSHA256: "ECDSA-SHA256"
        case .ecdsaWithSHA384: "ECDSA-SHA384"
        case .ecdsaWithSHA512: "ECDSA-SHA512"
        case .sha1WithRSAEncryption: "SHA1-RSA"
        case .sha256WithRSAEncryption: "SHA256-RSA"
        case .sha384WithRSAEncryption: "SHA384-RSA"
        case .sha512WithRSAEncryption: "SHA512-RSA"
        case .ed25519: "Ed25519"
        default: "\(algorithm)"
        }
    }

    /// In the order of the encoding, most general first.
    static func distinguished(_ name: DistinguishedName) -> String {
        CertificateOutput.printable(name.map { "\($0)" }.joined(separator: ", "))
    }

    /// RFC 5280's names.
    static func usages(_ usage: KeyUsage) -> [String] {
        [
            ("digitalSignature", usage.digitalSignature), ("nonRepudiation", usage.nonRepudiation),
            ("keyEncipherment", usage.keyEncipherment), ("dataEncipherment", usage.dataEncipherment),
            ("keyAgreement", usage.keyAgreement), ("keyCertSign", usage.keyCertSign), ("cRLSign", usage.cRLSign),
            ("encipherOnly", usage.encipherOnly), ("decipherOnly", usage.decipherOnly),
        ].filter(\.1).map(\.0)
    }
}
