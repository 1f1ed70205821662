import FoundationEssentials
import SPIFFE
import SwiftASN1
import Testing
import X509

/// The verify side of the dossier's list 1.8, whole: V1 to V27.
@Suite("Peer verification (list 1.8, V1 to V27)")
struct PeerVerifierTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let row: Int
        let name: String
        var role = PeerVerifier.Role.client
        /// `nil`: verified. Otherwise words of the refusal's text.
        var refused: String?
        let build: @Sendable () throws -> (bundles: [TrustBundle], chain: [Certificate])
        var testDescription: String { "V\(row): \(name)" }
    }

    @Test("decides each row as the list says", arguments: leafCases + chainCases)
    func decides(row: Case) throws {
        let (bundles, chain) = try row.build()
        let verifier = PeerVerifier(bundles: TrustBundleSet(bundles))
        switch (verifier.verify(chainDER: chain.map { $0.der() }, role: row.role, now: testNow), row.refused) {
        case (.verified(let peer), nil): #expect(try peer.id == chain[0].spiffeID())
        case (.verified(let peer), let words?): Issue.record("verified \(peer.id); expected \"\(words)\"")
        case (.refused(let reason), nil): Issue.record("refused: \(reason)")
        case (.refused(let reason), let words?): #expect("\(reason)".contains(words), "\(reason)")
        }
    }

    @Test("every row of the list is tested")
    func everyRow() {
        #expect(Set((Self.leafCases + Self.chainCases).map(\.row)) == Set(1...27))
    }

    /// One root, and a leaf under it that differs from a good one by `change`.
    private static func leaf(
        _ row: Int, _ name: String, role: PeerVerifier.Role = .client, refused: String? = nil,
        id: String = "spiffe://td.test/ns/shop/sa/web", _ change: @escaping @Sendable (inout CertificatePlan) -> Void
    ) -> Case {
        Case(row: row, name: name, role: role, refused: refused) {
            let root = try TestAuthority.root()
            return ([try bundle("td.test", root)], [try root.leaf(id, change)])
        }
    }

    static let leafCases: [Case] = [
        Case(row: 1, name: "empty chain", refused: "no certificate") { ([try bundle("td.test", .root())], []) },
        Case(row: 2, name: "no bundle for the trust domain", refused: "not known here") {
            let root = try TestAuthority.root("other.test")
            return ([try bundle("td.test", .root())], [try root.leaf("spiffe://other.test/a")])
        },
        Case(row: 3, name: "bundle without roots", refused: "all its authorities are revoked") {
            ([try bundle("td.test")], [try TestAuthority.root().leaf()])
        },
        leaf(4, "no alternative names", refused: "no URI") { $0.names = [] },
        leaf(4, "names, but no URI", refused: "no URI") { $0.names = [.dnsName("web.shop")] },
        leaf(5, "two URIs", refused: "2 URIs") { $0.uri("spiffe://td.test/a", "spiffe://td.test/b") },
        leaf(5, "the same URI twice", refused: "2 URIs") { $0.uri("spiffe://td.test/a", "spiffe://td.test/a") },
        leaf(6, "scheme https", refused: "spiffe://") { $0.uri("https://td.test/a") },
        leaf(6, "NUL inside the URI", refused: "byte 0x00") { $0.uri("spiffe://td.test/a\0.evil") },
        leaf(7, "leaf with cA true", refused: "CA certificate") {
            $0.constraints = .isCertificateAuthority(maxPathLength: nil)
        },
        leaf(8, "leaf with keyCertSign", refused: "keyCertSign") {
            $0.usage = KeyUsage(digitalSignature: true, keyCertSign: true)
        },
        leaf(9, "leaf with cRLSign", refused: "cRLSign") {
            $0.usage = KeyUsage(digitalSignature: true, cRLSign: true)
        },
        leaf(10, "leaf without digitalSignature", refused: "lacks digitalSignature") {
            $0.usage = KeyUsage(keyEncipherment: true)
        },
        leaf(10, "leaf without key usage", refused: "no key usage") { $0.usage = nil },
        leaf(11, "ID without a path", refused: "no path", id: "spiffe://td.test") { _ in },
        leaf(14, "expired leaf", refused: "expired at") { $0.notAfter = testNow.addingTimeInterval(-1) },
        leaf(14, "leaf of tomorrow", refused: "compare the clocks") { $0.notBefore = testNow.addingTimeInterval(60) },
        leaf(14, "leaf on its last second") { $0.notAfter = testNow },
        leaf(20, "only serverAuth, as a client", refused: "lacks clientAuth") { $0.purposes = [.serverAuth] },
        leaf(20, "only serverAuth, as a server", role: .server) { $0.purposes = [.serverAuth] },
        leaf(20, "only clientAuth, as a server", role: .server, refused: "lacks serverAuth") {
            $0.purposes = [.clientAuth]
        },
        leaf(20, "any purpose is not the purpose", refused: "lacks clientAuth") { $0.purposes = [.any] },
        leaf(20, "no extended key usage") { $0.purposes = nil },
        leaf(21, "unknown critical extension in the leaf", refused: "1.2.3.4.5 is not understood") {
            $0.unknownCriticalExtension = true
        },
        leaf(26, "email and DNS beside the URI") { $0.names += [.rfc822Name("a@b.example"), .dnsName("web")] },
        Case(row: 27, name: "the root as its own leaf", refused: "no path") {
            let root = try TestAuthority.root()
            return ([try bundle("td.test", root)], [root.certificate])
        },
        Case(row: 27, name: "a root with a workload's ID as its own leaf", refused: "CA certificate") {
            let root = try TestAuthority.root { $0.uri("spiffe://td.test/ns/a/sa/b") }
            return ([try bundle("td.test", root)], [root.certificate])
        },
    ]
}

extension PeerVerifierTests {
    /// Root, intermediate changed by `change`, leaf.
    private static func under(
        _ row: Int, _ name: String, refused: String? = nil,
        _ change: @escaping @Sendable (inout CertificatePlan) -> Void = { _ in },
        root changeRoot: @escaping @Sendable (inout CertificatePlan) -> Void = { _ in }
    ) -> Case {
        Case(row: row, name: name, refused: refused) {
            let root = try TestAuthority.root("td.test", name: nil, changeRoot)
            let intermediate = try root.intermediate("td.test", name: nil, change)
            return ([try bundle("td.test", root)], [try intermediate.leaf(), intermediate.certificate])
        }
    }

    private static func constrained(_ row: Int, _ name: String, refused: String? = nil, _ constraints: NameConstraints)
        -> Case
    {
        under(row, name, refused: refused) { $0.nameConstraints = constraints }
    }

    /// As many roots of one name as given; the last one signed the leaf.
    private static func namesakes(_ count: Int) -> Case {
        Case(row: 25, name: "\(count) authorities of the same name") {
            let roots = try (0..<count).map { _ in try TestAuthority.root() }
            let bundle = try TrustBundle(trustDomain: TrustDomain("td.test"), authorities: roots.map(\.certificate))
            return ([bundle], [try roots[count - 1].leaf()])
        }
    }

    static let chainCases: [Case] = [
        under(12, "intermediate with cA false", refused: "is not a CA") { $0.constraints = .notCertificateAuthority },
        under(12, "intermediate without basicConstraints", refused: "is not a CA") { $0.constraints = nil },
        under(13, "intermediate without keyCertSign", refused: "no key usage keyCertSign") {
            $0.usage = KeyUsage(cRLSign: true)
        },
        under(13, "intermediate without key usage", refused: "no key usage keyCertSign") { $0.usage = nil },
        under(13, "root without key usage is the operator's choice", root: { $0.usage = nil }),
        under(
            13, "root whose key usage excludes signing", refused: "the authority issued",
            root: { $0.usage = KeyUsage(cRLSign: true) }),
        under(14, "expired intermediate", refused: "certificate 2 expired") {
            $0.notAfter = testNow.addingTimeInterval(-1)
        },
        under(14, "intermediate of tomorrow", refused: "certificate 2 is valid only from") {
            $0.notBefore = testNow.addingTimeInterval(60)
        },
        under(
            14, "expired root", refused: "the authority expired", root: { $0.notAfter = testNow.addingTimeInterval(-1) }
        ),
        under(
            14, "root of tomorrow", refused: "the authority is valid only",
            root: { $0.notBefore = testNow.addingTimeInterval(9) }),
        Case(
            row: 15, name: "leaf of one domain under the root of another, both known",
            refused: "no valid chain to an authority of td.test"
        ) {
            let (ours, theirs) = (try TestAuthority.root(), try TestAuthority.root("other.test"))
            return ([try bundle("td.test", ours), try bundle("other.test", theirs)], [try theirs.leaf()])
        },
        Case(
            row: 15, name: "the same, both roots of the same name", refused: "no valid chain to an authority of td.test"
        ) {
            let (ours, theirs) = (
                try TestAuthority.root(name: "root"), try TestAuthority.root("other.test", name: "root")
            )
            return ([try bundle("td.test", ours), try bundle("other.test", theirs)], [try theirs.leaf()])
        },
        Case(row: 16, name: "two roots of one name: the one that signed is found") {
            let (first, second) = (try TestAuthority.root(), try TestAuthority.root())
            return ([try bundle("td.test", first, second)], [try second.leaf()])
        },
        Case(row: 17, name: "root re-issued with its key: leaf from the old, bundle with the new") {
            let old = try TestAuthority.root()
            return ([try bundle("td.test", old.reissued())], [try old.leaf()])
        },
        Case(row: 17, name: "root re-issued with its key: leaf from the new, bundle with the old") {
            let old = try TestAuthority.root()
            return ([try bundle("td.test", old)], [try old.reissued().leaf()])
        },
        under(18, "path length respected", root: { $0.constraints = .isCertificateAuthority(maxPathLength: 1) }),
        under(
            18, "path length exceeded", refused: "path length",
            root: { $0.constraints = .isCertificateAuthority(maxPathLength: 0) }),
        constrained(19, "name constraint permits the domain", NameConstraints(permittedURIDomains: ["td.test"])),
        constrained(
            19, "name constraint permits another", refused: "no valid chain",
            NameConstraints(permittedURIDomains: ["other.test"])),
        constrained(
            19, "name constraint excludes the domain", refused: "no valid chain",
            NameConstraints(forbiddenURIDomains: ["td.test"])),
        constrained(19, "name constraint excludes another", NameConstraints(forbiddenURIDomains: ["other.test"])),
        under(20, "intermediate whose purposes exclude the role", refused: "extended key usage excludes") {
            $0.purposes = [.serverAuth]
        },
        under(20, "intermediate for any purpose") { $0.purposes = [.any] },
        under(21, "unknown critical extension in the intermediate", refused: "no valid chain") {
            $0.unknownCriticalExtension = true
        },
        Case(row: 22, name: "SHA-1 signature", refused: "SHA-1") { try fixture("leaf-signed-with-sha1") },
        Case(row: 22, name: "the same leaf with SHA-256") { try fixture("leaf-rsa-2048") },
        Case(row: 23, name: "leaf not first", refused: "no path") {
            let root = try TestAuthority.root()
            let intermediate = try root.intermediate()
            return ([try bundle("td.test", root)], [intermediate.certificate, try intermediate.leaf()])
        },
        Case(row: 23, name: "leaf first, the others in any order") {
            let root = try TestAuthority.root()
            let upper = try root.intermediate(name: "upper")
            let lower = try upper.intermediate(name: "lower")
            return (
                [try bundle("td.test", root)],
                [try lower.leaf(), root.certificate, upper.certificate, lower.certificate]
            )
        },
        Case(row: 24, name: "an unrelated certificate in the chain") {
            let root = try TestAuthority.root()
            let intermediate = try root.intermediate()
            let stranger = try TestAuthority.root("other.test")
            return (
                [try bundle("td.test", root)],
                [try intermediate.leaf(), stranger.certificate, intermediate.certificate]
            )
        },
        namesakes(25), namesakes(100),
    ]

    /// A certificate that openssl made, under its own root.
    static func fixture(_ name: String) throws -> (bundles: [TrustBundle], chain: [Certificate]) {
        let root = try Fixture.text("root-rsa")
        let leaf = try Certificate(pemEncoded: Fixture.text(name))
        return ([try TrustBundle(trustDomain: TrustDomain("td.test"), pem: root)], [leaf])
    }
}
