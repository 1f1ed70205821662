import Crypto
import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import WorkloadIdentity

@Suite struct ReceivedSVIDTests {
    private static let now = Date(timeIntervalSince1970: 1_767_225_600)
    private static let uri = "spiffe://td/ns/shop/sa/web"

    @Test("what fits is taken")
    func fits() throws {
        let svid = try check()
        #expect(svid.id.description == Self.uri)
    }

    @Test("another key's certificate is refused")
    func otherKey() throws {
        let other = Certificate.PrivateKey(P256.Signing.PrivateKey())
        #expect(throws: UnfitSVID.malformed(.keyMismatch)) { try check(certifiedKey: other.publicKey) }
    }

    @Test("another identity's certificate is refused, also one that differs only by case or domain")
    func otherIdentity() throws {
        for uri in ["spiffe://td/ns/shop/sa/db", "spiffe://td/ns/shop/sa/Web", "spiffe://td2/ns/shop/sa/web"] {
            #expect(throws: UnfitSVID.otherIdentity(try SPIFFEID(uri))) { try check(uri: uri) }
        }
    }

    @Test("a certificate that our own bundle does not verify is refused")
    func untrusted() throws {
        let stranger = try TestAuthority(now: Self.now)
        #expect {
            try check(bundles: stranger.bundles)
        } throws: { error in
            guard case UnfitSVID.untrusted = error else { return false }
            return true
        }
        #expect(throws: UnfitSVID.self) { try check(bundles: TrustBundleSet()) }
        #expect(throws: UnfitSVID.self) { try check(chain: []) }
    }

    @Test(
        "clocks that disagree are named as what they are",
        arguments: [(60.0, 3600.0), (-3600, -1), (-3600, 0), (-3600, 4)])
    func clocks(from: Double, to: Double) throws {
        let error = #expect(throws: UnfitSVID.self) { try check(from: from, to: to) }
        guard case .clock? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(error?.description.contains("check the clocks") == true)
    }

    @Test("a certificate for years is refused")
    func tooLong() throws {
        #expect(throws: UnfitSVID.tooLong) { try check(from: -120, to: 91 * 86400) }
    }

    @Test("a request has an empty subject, the identity as its only name, a new key each time and a valid signature")
    func signingRequest() throws {
        let first = try IdentityRequest(uri: Self.uri)
        let second = try IdentityRequest(uri: Self.uri)
        #expect(first.key.publicKey != second.key.publicKey)
        #expect(first.csr.subject.isEmpty)
        #expect(first.csr.publicKey.isValidSignature(first.csr.signature, for: first.csr))
        let names = try #require(try first.csr.attributes.extensionRequest?.extensions.subjectAlternativeNames)
        #expect(Array(names) == [.uniformResourceIdentifier(Self.uri)])
    }

    private func check(
        uri: String = uri,
        certifiedKey: Certificate.PublicKey? = nil,
        from: Double = -120,
        to: Double = 3600,
        bundles: TrustBundleSet? = nil,
        chain: [Certificate]? = nil
    ) throws -> X509SVID {
        let authority = try TestAuthority(now: Self.now)
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let leaf = try authority.leaf(
            uri, key: certifiedKey ?? key.publicKey, notBefore: Self.now.addingTimeInterval(from),
            notAfter: Self.now.addingTimeInterval(to))
        return try ReceivedSVID.check(
            chain ?? [leaf], key: key, identity: SPIFFEID(Self.uri), bundles: bundles ?? authority.bundles,
            now: Self.now)
    }
}
