import Crypto
import FoundationEssentials
import RevocationFixtures
import SPIFFE
import Testing
import X509
import _CryptoExtras

@testable import Authority

@Suite("A good plug-in CA") struct PluginAuthorityTests {
    struct Kind: Sendable, CustomTestStringConvertible {
        let name: String
        let key: @Sendable () throws -> Certificate.PrivateKey
        var testDescription: String { name }
    }

    static let kinds: [Kind] = [
        Kind(name: "P-256") { .init(P256.Signing.PrivateKey()) },
        Kind(name: "P-384") { .init(P384.Signing.PrivateKey()) },
        Kind(name: "P-521") { .init(P521.Signing.PrivateKey()) },
        Kind(name: "Ed25519") { .init(Curve25519.Signing.PrivateKey()) },
        Kind(name: "RSA 2048") { .init(try _RSA.Signing.PrivateKey(keySize: .bits2048)) },
    ]

    @Test("of any kind of key signs leaves that peers accept, and nothing outlives it", arguments: kinds)
    func signs(kind: Kind) throws {
        let made = try PluginFixture {
            $0.signer.key = try kind.key()
            $0.signer.notAfter = PluginFixture.now.addingTimeInterval(1800)
        }.made()
        let set = try made.files.validated()
        #expect(set.signer.notAfter == PluginFixture.now.addingTimeInterval(1800))
        #expect(set.signer.presented == [made.signer.certificate])
        #expect(set.roots == [made.root.certificate])
        #expect(set.remarks.count == 1 && set.remarks[0].contains("less than six times as long"))
        #expect(
            set.warnings(leafLifetime: .seconds(3600), now: PluginFixture.now).contains { $0.contains("cut short") })
    }

    @Test("may be made by others: no SPIFFE ID, digitalSignature beside keyCertSign, a key identifier of another make")
    func foreign() throws {
        let made = try PluginFixture {
            $0.signer.usage = KeyUsage(digitalSignature: true, keyCertSign: true, cRLSign: true)
            $0.signer.keyIdentifier = ArraySlice(SHA256.hash(data: [1]).prefix(20))
        }.made()
        #expect(
            try made.files.validated().signer.keyIdentifier.keyIdentifier
                == ArraySlice(SHA256.hash(data: [1]).prefix(20)))
        _ = try PluginFixture { $0.signer.uris = ["spiffe://culvert.test"] }.made().files.validated()
    }

    @Test("may stand on several certificates, be a root itself, or come with all of its chain in one file")
    func shapes() throws {
        let made = try PluginFixture {
            $0.between = CAPlan("Between", now: PluginFixture.now, life: .seconds(86_400 * 90))
        }.made()
        let between = try #require(made.between)
        #expect(try made.files.validated().signer.presented == [made.signer.certificate, between.certificate])
        var secret = PluginFiles(
            certificate: file("tls.crt", made.signer.pem + between.pem), key: file("tls.key", try made.signer.keyPEM),
            root: file("ca.crt", made.root.pem))
        #expect(try secret.validated().signer.presented.count == 2)
        secret = PluginFiles(
            certificate: file("tls.crt", made.root.pem), key: file("tls.key", try made.root.keyPEM),
            root: file("ca.crt", made.root.pem))
        let own = try secret.validated()
        #expect(own.signer.presented.isEmpty && own.signersRoot == made.root.certificate)
    }

    @Test("may name several roots: the signer's comes first, and one that has run out is left out with a remark")
    func roots() throws {
        var made = try PluginFixture().made()
        let other = try CAPlan("Other", now: PluginFixture.now, life: .seconds(86_400)).made()
        let old = try CAPlan("Old", now: PluginFixture.now, life: .seconds(-1)).made()
        made.files.root = file("root-cert.pem", other.pem + old.pem + made.root.pem)
        let set = try made.files.validated()
        #expect(set.roots == [made.root.certificate, other.certificate])
        #expect(set.remarks == ["root-cert.pem, certificate 2, expired at 2025-12-31T23:59:59Z and is not published"])
    }

    @Test("may have a key with curve parameters before it, with CRLF, and with text around its certificates")
    func spellings() throws {
        var made = try PluginFixture().made()
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        let key = (parameters + (try made.signer.keyPEM)).replacing("\n", with: "\r\n")
        made.files.key = file("ca-key.pem", key)
        made.files.certificate = file("ca-cert.pem", "subject=CN = Example\n\n" + made.signer.pem + "\n")
        _ = try made.files.validated()
    }

    @Test("takes the newest list of each of its CAs, goes on with one that has run out, and takes no older one")
    func revocations() throws {
        let now = PluginFixture.now
        var made = try PluginFixture().made()
        func list(_ ca: MadeCA, at offset: Double, lasting life: Double = 3600) throws -> String {
            var plan = RevocationPlan(now: now)
            plan.thisUpdate = now.addingTimeInterval(offset)
            plan.nextUpdate = plan.thisUpdate.addingTimeInterval(life)
            return try ca.list(plan)
        }
        made.files.revocations = file(
            "ca-crl.pem",
            try list(made.signer, at: -200) + list(made.signer, at: -100) + list(made.root, at: -300, lasting: 100))
        let set = try made.files.validated()
        #expect(Set(set.revocations.map(\.thisUpdate)) == [now.addingTimeInterval(-100), now.addingTimeInterval(-300)])
        let warnings = set.warnings(leafLifetime: .seconds(3600), now: now)
        #expect(warnings.count == 1 && warnings[0].contains("it goes on being honoured"))
        made.files.revocations = file("ca-crl.pem", try list(made.signer, at: -200))
        #expect(
            throws: PluginFlaw.olderRevocations(
                "ca-crl.pem", inForce: now.addingTimeInterval(-100), offered: now.addingTimeInterval(-200))
        ) { try made.files.validated(inForce: set.revocations) }
        // None at all takes all back.
        made.files.revocations = nil
        #expect(try made.files.validated(inForce: set.revocations).revocations.isEmpty)
    }
}
