import Crypto
import FoundationEssentials
import SPIFFE
import SeededRandom
import SwiftASN1
import Testing
import X509

@testable import Authority

/// Rules I10 to I13: what a signing request can and cannot do.
@Suite struct SigningRequestTests {
    @Test("I10 nothing that a request asks for is copied into the certificate")
    func asksForMore() async throws {
        let greedy = try Certificate.Extensions {
            Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
            Critical(KeyUsage(keyCertSign: true, cRLSign: true))
            SubjectAlternativeNames([
                .uniformResourceIdentifier("spiffe://culvert.test/ns/shop/sa/admin"), .dnsName("admin.example"),
            ])
            try ExtendedKeyUsage([.codeSigning])
            Certificate.Extension(oid: [1, 2, 3, 4], critical: true, value: [5, 0])
        }
        let fixture = try await AuthorityFixture()
        let svid = try await fixture.webSVID(csr: request(extensions: greedy))
        let leaf = svid.certificates[0]
        #expect(try leaf.spiffeID().path == "/ns/shop/sa/web")
        #expect(try leaf.extensions.basicConstraints == .notCertificateAuthority)
        #expect(leaf.extensions[oid: [1, 2, 3, 4]] == nil)
        #expect(SVIDProfile.violations(leaf: leaf, issuer: svid.certificates[1]).isEmpty)
        #expect(!"\(leaf.subject)".contains("whatever"))
    }

    @Test("I11 a request whose signature is not its key's is refused")
    func badSignature() throws {
        let der = try request()
        let mine = try CertificateSigningRequest(derEncoded: der)
        let stolen = try CertificateSigningRequest(
            version: .v1,
            subject: mine.subject,
            publicKey: Certificate.PublicKey(P256.Signing.PrivateKey().publicKey),
            attributes: mine.attributes,
            signatureAlgorithm: mine.signatureAlgorithm,
            signature: mine.signature
        )
        #expect(throws: SigningRequestFlaw.badSignature) { try accept(der: try encoded(stolen)) }
    }

    @Test("I12 weak and uncommon keys are refused", arguments: ["rsa-1024", "p-224", "p-521", "ed25519"])
    func weakKey(name: String) throws {
        let der: [UInt8] =
            switch name {
            case "rsa-1024": try decoded(rsa1024Request)
            case "p-224": try decoded(p224Request)
            case "p-521": try request(key: .init(P521.Signing.PrivateKey()))
            default: try request(key: .init(Curve25519.Signing.PrivateKey()))
            }
        #expect(throws: SigningRequestFlaw.self) { try accept(der: der) }
    }

    @Test("P-256, P-384 and RSA 2048 keys are accepted", arguments: ["p-256", "p-384", "rsa-2048"])
    func strongKey(name: String) async throws {
        let der: [UInt8] =
            switch name {
            case "p-256": try request()
            case "p-384": try request(key: .init(P384.Signing.PrivateKey()))
            default: try decoded(rsa2048Request)
            }
        let fixture = try await AuthorityFixture()
        let svid = try await fixture.webSVID(csr: der)
        let usage = try #require(try svid.certificates[0].extensions.keyUsage)
        #expect(usage.keyEncipherment == (name == "rsa-2048"))
    }

    @Test("I13 an authority's own key is refused, whichever authority's")
    func authorityKey() async throws {
        let fixture = try await AuthorityFixture()
        for record in try await fixture.store.authorities().records {
            let policy = SigningRequestPolicy(forbidden: [record.id])
            let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
            let ours = SigningRequestPolicy(forbidden: [AuthorityID(publicKey: key.publicKey)])
            #expect(throws: SigningRequestFlaw.authorityKey) { try ours.acceptedKey(of: request(key: key)) }
            #expect(throws: Never.self) { try policy.acceptedKey(of: request(key: key)) }
        }
        // With the real key: unsealed from the store, as a thief of the store and its key file would have it.
        let seal = try SealingKeyFile.read("\(fixture.directory.path)/authority.key")
        let node = try await fixture.join("node-a")
        for record in try await fixture.store.authorities().records {
            let key = try SigningAuthority(record, seal: seal).key
            await #expect(throws: Denial.requestRefused(.authorityKey)) {
                try await fixture.authority.issue(podUID: "web-uid", csr: request(key: key), caller: node)
            }
        }
    }

    @Test("requests over 8 KiB, cut short, with a tail, or of random bytes are refused")
    func malformed() throws {
        let der = try request()
        #expect(throws: SigningRequestFlaw.tooLarge(8193)) { try accept(der: [UInt8](repeating: 0x30, count: 8193)) }
        #expect(throws: SigningRequestFlaw.self) { try accept(der: der + [0]) }
        for count in 0..<der.count {
            #expect(throws: SigningRequestFlaw.self) { try accept(der: Array(der.prefix(count))) }
        }
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<2000 {
            var bytes = der
            for _ in 0..<3 {
                bytes[Int.random(in: 0..<der.count, using: &generator)] ^= UInt8.random(in: 1...255, using: &generator)
            }
            // Whatever it says: it does not crash, and no changed request passes for the signed one.
            if let key = try? SigningRequestPolicy(forbidden: []).acceptedKey(of: bytes) {
                Issue.record("accepted \(key) from a changed request")
            }
        }
    }

    @discardableResult
    private func accept(der: [UInt8]) throws -> CertifiableKey {
        try SigningRequestPolicy(forbidden: []).acceptedKey(of: der)
    }
}

private func encoded(_ request: CertificateSigningRequest) throws -> [UInt8] {
    var serializer = DER.Serializer()
    try serializer.serialize(request)
    return serializer.serializedBytes
}

private func decoded(_ base64: String) throws -> [UInt8] {
    [UInt8](try #require(Data(base64Encoded: base64)))
}
