import SPIFFE
import Testing

@Suite("Trust-domain aliases")
struct TrustDomainAliasesTests {
    private let domain: TrustDomain
    private let aliases: TrustDomainAliases

    init() throws {
        domain = try TrustDomain("td.test")
        aliases = TrustDomainAliases([try TrustDomain("old.test"), domain], of: domain)
    }

    @Test("a member of an alias is verified with our roots and with nobody else's")
    func roots() throws {
        let (ours, theirs) = (try TestAuthority.root(), try TestAuthority.root("old.test"))
        let set = TrustBundleSet([try bundle("td.test", ours), try bundle("old.test", theirs)])
        let verifier = PeerVerifier(bundles: aliases.applied(to: set))
        func isVerified(_ id: String, by root: TestAuthority) throws -> Bool {
            let chain = [try root.leaf(id).der()]
            guard case .verified(let peer) = verifier.verify(chainDER: chain, role: .client, now: testNow) else {
                return false
            }
            return peer.id.description == id
        }
        #expect(try isVerified("spiffe://old.test/ns/a/sa/b", by: ours))
        #expect(try isVerified("spiffe://td.test/ns/a/sa/b", by: ours))
        #expect(try !isVerified("spiffe://old.test/ns/a/sa/b", by: theirs))
        #expect(try !isVerified("spiffe://other.test/ns/a/sa/b", by: ours))
    }

    @Test("without roots of our own nobody vouches for an alias")
    func withoutOwn() throws {
        let theirs = try TestAuthority.root("old.test")
        let set = aliases.applied(to: TrustBundleSet([try bundle("old.test", theirs)]))
        #expect(set.bundles.isEmpty)
    }

    @Test(
        "an identity is compared without regard to which of the domain's names it has",
        arguments: [
            ("spiffe://td.test/a", "spiffe://td.test/a", true), ("spiffe://td.test/a", "spiffe://old.test/a", true),
            ("spiffe://old.test/a", "spiffe://td.test/a", true), ("spiffe://td.test/a", "spiffe://td.test/b", false),
            ("spiffe://td.test/a", "spiffe://old.test/b", false),
            ("spiffe://td.test/a", "spiffe://other.test/a", false),
            ("spiffe://other.test/a", "spiffe://td.test/a", false),
            ("spiffe://other.test/a", "spiffe://other.test/a", true),
        ])
    func comparison(expected: String, peer: String, isSame: Bool) throws {
        let (wanted, shown) = ([try SPIFFEID("spiffe://td.test/x"), try SPIFFEID(expected)], try SPIFFEID(peer))
        #expect(aliases.isOneOf(wanted, shown) == isSame)
        let none = TrustDomainAliases(of: domain)
        #expect(none.isOneOf(wanted, shown) == (expected == peer))
    }
}
