import Crypto
import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import Authority

/// A certificate that is not what was decided never leaves: each row changes one thing.
@Suite("The last look at a certificate before it leaves")
struct CertificateInspectionTests {
    private static let now = Date(unixSeconds: 1_767_225_600)
    private static let seal = KeySeal(key: [UInt8](repeating: 7, count: KeySeal.keySize))

    /// What was decided, and who is to have signed.
    struct Plan {
        var id: SPIFFEID
        var key: CertifiableKey
        var serial: Certificate.SerialNumber
        var validity: CertificateProfile.Validity
        var issuer: SigningAuthority

        var content: LeafContent { LeafContent(id: id, key: key, serial: serial, validity: validity) }
    }

    struct Flaw: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// What is signed instead of the plan.
        let change: @Sendable (inout Plan) throws -> Void
    }

    private static func root() throws -> SigningAuthority {
        try AuthoritySuccession(
            trustDomain: AuthorityFixture.trustDomain, lifetimes: AuthorityLifetimes(), seal: seal,
            random: systemRandomBytes
        ).newRoot(now: now)
    }

    private static func plan() throws -> Plan {
        let root = try root()
        let issuer = try AuthoritySuccession(
            trustDomain: AuthorityFixture.trustDomain, lifetimes: AuthorityLifetimes(), seal: seal,
            random: systemRandomBytes
        ).intermediate(under: root, now: now)
        return Plan(
            id: try SPIFFEID("spiffe://culvert.test/ns/shop/sa/web"),
            key: try key(), serial: CertificateProfile.serialNumber(systemRandomBytes),
            validity: CertificateProfile.Validity(now: now, lifetime: .seconds(3600), issuerNotAfter: issuer.notAfter),
            issuer: issuer)
    }

    private static func key() throws -> CertifiableKey {
        try CertifiableKey(Certificate.PublicKey(P256.Signing.PrivateKey().publicKey))
    }

    private static let flaws: [Flaw] = [
        Flaw(testDescription: "another key") { $0.key = try key() },
        Flaw(testDescription: "another identity") { $0.id = try SPIFFEID("spiffe://culvert.test/ns/shop/sa/db") },
        Flaw(testDescription: "another trust domain") { $0.id = try SPIFFEID("spiffe://other.test/ns/shop/sa/web") },
        Flaw(testDescription: "the trust domain itself") { $0.id = try SPIFFEID("spiffe://culvert.test") },
        Flaw(testDescription: "a later end") {
            $0.validity = .init(now: now, lifetime: .seconds(3601), issuerNotAfter: $0.issuer.notAfter)
        },
        Flaw(testDescription: "an end beyond the issuer's") {
            $0.validity = .init(now: now, lifetime: .seconds(400 * 86400), issuerNotAfter: nil)
        },
        Flaw(testDescription: "an earlier beginning") {
            $0.validity = .init(now: now - 60, lifetime: .seconds(3660), issuerNotAfter: $0.issuer.notAfter)
        },
        Flaw(testDescription: "another authority's signature") { $0.issuer = try root() },
    ]

    @Test("lets what was decided pass, and nothing that differs from it", arguments: flaws)
    func leaves(flaw: Flaw) throws {
        let plan = try Self.plan()
        let good = try plan.issuer.uninspected(plan.content)
        try plan.issuer.inspect(good, for: plan.content)
        try second(good, plan)
        var changed = plan
        try flaw.change(&changed)
        let certificate = try changed.issuer.uninspected(changed.content)
        // Each of the two sees it for itself.
        #expect(throws: AuthorityError.self) { try plan.issuer.inspect(certificate, for: plan.content) }
        #expect(throws: AuthorityError.self) { try second(certificate, plan) }
    }

    private func second(_ certificate: [UInt8], _ plan: Plan) throws(AuthorityError) {
        try CertificateInspection.checkLeaf(certificate, plan.content, issuer: plan.issuer.certificate)
    }

    @Test(
        "sees a signature that is not the issuer's, though all names and dates are right, in the leaves that are sampled"
    )
    func forged() throws {
        let plan = try Self.plan()
        // The same certificate in everything but the key that signs.
        let impostor = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let good = try Certificate(derEncoded: plan.issuer.uninspected(plan.content))
        let forged = try Certificate(
            version: .v3, serialNumber: good.serialNumber, publicKey: good.publicKey,
            notValidBefore: good.notValidBefore, notValidAfter: good.notValidAfter, issuer: good.issuer,
            subject: good.subject, signatureAlgorithm: .ecdsaWithSHA256, extensions: good.extensions,
            issuerPrivateKey: impostor)
        #expect(throws: AuthorityError.self) { try second(forged.der(), plan) }
    }

    @Test("sees an intermediate that its root did not sign, that outlives it, or that has another key")
    func intermediates() throws {
        let (plan, stranger) = (try Self.plan(), try Self.root())
        let root = try Self.root()
        let key = plan.issuer.key.publicKey
        func made(by issuer: SigningAuthority, _ lifetime: Duration) throws -> Certificate {
            try CertificateProfile.intermediate(
                key: key, trustDomain: AuthorityFixture.trustDomain,
                serial: CertificateProfile.serialNumber(systemRandomBytes),
                validity: .init(now: Self.now, lifetime: lifetime, issuerNotAfter: nil), issuer: issuer)
        }
        func inspected(_ certificate: Certificate, _ key: Certificate.PublicKey) throws(AuthorityError) {
            try CertificateInspection.checkAuthority(certificate, key: key, issuer: root.certificate)
        }
        try inspected(made(by: root, .seconds(86400)), key)
        let (foreign, long) = (try made(by: stranger, .seconds(86400)), try made(by: root, .seconds(500 * 86400)))
        let good = try made(by: root, .seconds(86400))
        #expect(throws: AuthorityError.self) { try inspected(foreign, key) }
        #expect(throws: AuthorityError.self) { try inspected(long, key) }
        #expect(throws: AuthorityError.self) { try inspected(good, root.key.publicKey) }
    }
}
