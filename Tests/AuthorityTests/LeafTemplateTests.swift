import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import Testing
import X509
import _CryptoExtras

@testable import Authority

/// What is spliced together byte by byte, beside what swift-certificates makes of the same decisions; and what the inspection finds.
@Suite("Leaves, byte by byte") struct LeafTemplateTests {
    enum Kind: String, CaseIterable, Sendable {
        case p256, p384, p521, ed25519, rsa

        var key: Certificate.PrivateKey {
            get throws {
                switch self {
                case .p256: .init(P256.Signing.PrivateKey())
                case .p384: .init(P384.Signing.PrivateKey())
                case .p521: .init(P521.Signing.PrivateKey())
                case .ed25519: .init(Curve25519.Signing.PrivateKey())
                case .rsa: .init(try _RSA.Signing.PrivateKey(keySize: .bits2048))
                }
            }
        }
    }

    /// Years whose times are written in one form, in two, and in the other.
    static let moments: [Int64] = [1_767_225_600, 946_684_799, 2_524_607_900, 2_524_608_000, 4_102_444_800]

    private func signer(_ kind: Kind, at now: Int64) throws -> SigningAuthority {
        let key = try kind.key
        let name = try DistinguishedName {
            OrganizationName("Somebody's")
            CommonName("Issuing CA")
        }
        let certificate = try Certificate(
            version: .v3, serialNumber: .init(UInt64(7)), publicKey: key.publicKey,
            notValidBefore: Date(timeIntervalSince1970: TimeInterval(now - 86400)),
            notValidAfter: Date(timeIntervalSince1970: TimeInterval(now + 86400)), issuer: name, subject: name,
            extensions: .init {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                Critical(KeyUsage(keyCertSign: true))
                SubjectKeyIdentifier(hash: key.publicKey)
            }, issuerPrivateKey: key)
        return try SigningAuthority(certificate: certificate, key: key)
    }

    private func content(
        _ kind: Kind = .p256, at now: Int64 = 1_767_225_600, serial: [UInt8]? = nil, names: [GeneralName] = []
    ) throws -> LeafContent {
        LeafContent(
            id: try SPIFFEID("spiffe://culvert.test/ns/shop/sa/web"),
            names: try names.flatMap { try LeafTemplate.encoded($0) },
            key: try CertifiableKey(kind.key.publicKey),
            serial: serial.map { Certificate.SerialNumber(bytes: $0) }
                ?? CertificateProfile.serialNumber(systemRandomBytes),
            validity: .init(
                now: Date(timeIntervalSince1970: TimeInterval(now)), lifetime: .seconds(3600), issuerNotAfter: nil))
    }

    /// The same as swift-certificates encodes it.
    private func reference(
        _ content: LeafContent, names: [GeneralName], _ signer: SigningAuthority
    ) throws -> Certificate {
        let key = try Certificate.PublicKey(derEncoded: DER.parse(content.key.info))
        return try Certificate(
            version: .v3, serialNumber: content.serial, publicKey: key,
            notValidBefore: content.validity.notBefore, notValidAfter: content.validity.notAfter,
            issuer: signer.certificate.subject, subject: DistinguishedName { OrganizationName("Culvert") },
            signatureAlgorithm: signer.signatureAlgorithm,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true, keyEncipherment: content.key.isRSA))
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                SubjectAlternativeNames([.uniformResourceIdentifier(content.id.description)] + names)
                SubjectKeyIdentifier(hash: key)
                AuthorityKeyIdentifier(keyIdentifier: signer.keyIdentifier.keyIdentifier)
            },
            issuerPrivateKey: signer.key)
    }

    @Test(
        "a leaf is byte for byte what swift-certificates encodes, whoever signs and whoever holds the key",
        arguments: Kind.allCases)
    func issuers(kind: Kind) throws {
        for holder in [Kind.p256, .p384, .rsa] {
            for now in Self.moments where now > 1_700_000_000 || kind == .p256 {
                let (signer, content) = (try signer(kind, at: now), try content(holder, at: now))
                let leaf = try Certificate(derEncoded: signer.leaf(content, verified: true))
                let reference = try reference(content, names: [], signer)
                #expect(leaf.tbsCertificateBytes == reference.tbsCertificateBytes)
                #expect(leaf.signatureAlgorithm == reference.signatureAlgorithm)
                #expect(signer.certificate.publicKey.isValidSignature(leaf.signature, for: leaf))
            }
        }
    }

    @Test("so it is with names beside the ID, and with serial numbers of every length")
    func namesAndSerials() throws {
        let signer = try signer(.p256, at: Self.moments[0])
        let names: [GeneralName] = [
            .dnsName("istiod.istio-system.svc"), .ipAddress(ASN1OctetString(contentBytes: [10, 0, 0, 1])),
        ]
        for serial in [[1], [0x7f], [0x80], [0, 0, 0xff], [UInt8](repeating: 0x7f, count: 16)] {
            let content = try content(serial: serial, names: names)
            let leaf = try Certificate(derEncoded: signer.leaf(content, verified: true))
            #expect(try leaf.tbsCertificateBytes == reference(content, names: names, signer).tbsCertificateBytes)
        }
    }

    @Test("a key from a request and the same from swift-certificates are one")
    func keys() throws {
        let key = P256.Signing.PrivateKey().publicKey
        let decoded = try CertifiableKey(Certificate.PublicKey(key))
        let read = try #require(CertifiableKey(p256Info: decoded.info[...]))
        #expect(read == decoded)
        #expect(read.p256?.rawRepresentation == key.rawRepresentation)
        // A compressed point, and one that is on no curve.
        #expect(CertifiableKey(p256Info: decoded.info.dropLast(32)) == nil)
        #expect(CertifiableKey(p256Info: (decoded.info.dropLast() + [decoded.info.last! ^ 1])[...])?.p256 == nil)
    }

    @Test("the inspection finds every change of every byte outside the signature, and what ends too early or too late")
    func changes() throws {
        let signer = try signer(.p256, at: Self.moments[0])
        let content = try content()
        let leaf = try signer.leaf(content, verified: true)
        let inspection = try #require(LeafInspection(issuer: signer.certificate, notAfter: signer.notAfter))
        #expect(inspection.flaw(of: leaf, for: content) == nil)
        // The signature's own bytes come last: after tag, length and the count of unused bits.
        let signature = try Certificate(derEncoded: leaf).signature.rawRepresentation.count
        for index in 0..<leaf.count - signature {
            for change in [UInt8(0x01), 0x20, 0x80, 0xff] {
                var changed = leaf
                changed[index] ^= change
                #expect(inspection.flaw(of: changed, for: content) != nil, "byte \(index) changed by \(change)")
            }
        }
        for count in 0..<leaf.count { #expect(inspection.flaw(of: Array(leaf.prefix(count)), for: content) != nil) }
        #expect(inspection.flaw(of: leaf + [0], for: content) != nil)
    }

    @Test("the inspection holds a leaf against the decision, not against itself")
    func decisions() throws {
        let signer = try signer(.p256, at: Self.moments[0])
        let decided = try content()
        let inspection = try #require(LeafInspection(issuer: signer.certificate, notAfter: signer.notAfter))
        let leaf = try signer.leaf(decided, verified: false)
        let others = [
            try content(), try content(serial: Array(decided.serial.bytes), names: [.dnsName("web")]),
            LeafContent(
                id: try SPIFFEID("spiffe://culvert.test/ns/shop/sa/db"), key: decided.key, serial: decided.serial,
                validity: decided.validity),
            LeafContent(
                id: decided.id, key: decided.key, serial: decided.serial,
                validity: .init(
                    now: Date(timeIntervalSince1970: TimeInterval(Self.moments[0])), lifetime: .seconds(3601),
                    issuerNotAfter: nil)),
        ]
        for other in others { #expect(inspection.flaw(of: leaf, for: other) != nil) }
        // Made by the template as it was told to, and refused all the same.
        let ownKey = LeafContent(
            id: decided.id, key: try CertifiableKey(signer.certificate.publicKey), serial: decided.serial,
            validity: decided.validity)
        #expect(throws: AuthorityError.unfitCertificate("its key is its issuer's (I13)")) {
            try signer.leaf(ownKey, verified: false)
        }
        let tooLong = LeafContent(
            id: decided.id, key: decided.key, serial: decided.serial,
            validity: .init(
                now: Date(timeIntervalSince1970: TimeInterval(Self.moments[0])), lifetime: .seconds(90_000),
                issuerNotAfter: nil))
        #expect(throws: AuthorityError.unfitCertificate("it outlives its issuer (I7)")) {
            try signer.leaf(tooLong, verified: false)
        }
        let nobody = LeafContent(
            id: AuthorityFixture.trustDomain.id, key: decided.key, serial: decided.serial, validity: decided.validity)
        #expect(throws: AuthorityError.unfitCertificate("its ID has no path (I1)")) {
            try signer.leaf(nobody, verified: false)
        }
    }

    @Test("lengths that are not the shortest, too long, or of no definite form are not DER")
    func lengths() {
        for flaw: [UInt8] in [
            [0x30, 0x81, 0x01, 0x00], [0x30, 0x82, 0x00, 0x80] + [UInt8](repeating: 0, count: 128), [0x30, 0x80, 0, 0],
            [0x30, 0x02, 0x00], [0x30], [0x1f, 0x01, 0x00], [0x30, 0x84, 0, 0, 0, 1, 0], [0x30, 0x83, 0x01, 0x00],
        ] {
            var reader = DERReader(flaw)
            #expect(reader.next() == nil)
        }
        for count in [0, 1, 127, 128, 255, 256, 65535, 65536] {
            let element = [UInt8](der: 0x04, [UInt8](repeating: 7, count: count))
            var reader = DERReader(element)
            #expect(reader.next(0x04)?.content.count == count)
            #expect(reader.isAtEnd)
        }
    }
}
