import SPIFFE
import Testing
import X509

@Suite("Lint against the X509-SVID standard")
struct SVIDLintTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let rule: String
        let severity: SVIDLint.Severity
        let name: String
        let change: @Sendable (inout CertificatePlan) -> Void
        var testDescription: String { "\(rule) \(severity): \(name)" }

        init(
            _ rule: String, _ severity: SVIDLint.Severity, _ name: String,
            _ change: @escaping @Sendable (inout CertificatePlan) -> Void
        ) {
            (self.rule, self.severity, self.name, self.change) = (rule, severity, name, change)
        }
    }

    static let leaves: [Case] = [
        Case("X-1", .fail, "no URI") { $0.names = [.dnsName("a")] },
        Case("X-1", .fail, "two URIs") { $0.uri("spiffe://a/b", "spiffe://a/c") },
        Case("X-1", .fail, "not an ID") { $0.uri("https://a/b") },
        Case("X-2", .pass, "other names") { $0.names += [.dnsName("a"), .rfc822Name("a@b.example")] },
        Case("X-3", .fail, "no subject, names not critical") { $0.namesCritical = false },
        Case("X-3", .pass, "subject") { $0.subject = "a" },
        Case("X-4", .fail, "no path") { $0.uri("spiffe://td.test") },
        Case("X-5", .pass, "trust domain") { _ in },
        Case("X-6", .pass, "basicConstraints absent") { $0.constraints = nil },
        Case("X-7", .fail, "key usage missing") { $0.usage = nil },
        Case("X-7", .fail, "key usage not critical") { $0.usageCritical = false },
        Case("X-8", .fail, "no digitalSignature") { $0.usage = KeyUsage(keyAgreement: true) },
        Case("X-9", .pass, "keyAgreement") { $0.usage = KeyUsage(digitalSignature: true, keyAgreement: true) },
        Case("X-10", .fail, "keyCertSign") { $0.usage = KeyUsage(digitalSignature: true, keyCertSign: true) },
        Case("X-11", .fail, "cRLSign") { $0.usage = KeyUsage(digitalSignature: true, cRLSign: true) },
        Case("X-12", .fail, "one purpose") { $0.purposes = [.serverAuth] },
        Case("X-12", .warn, "no extended key usage") { $0.purposes = nil },
        Case("X-13", .warn, "name constraints in a leaf") {
            $0.nameConstraints = NameConstraints(permittedURIDomains: ["a"])
        },
        Case("X-14", .pass, "a leaf") { _ in },
        Case("X-16", .fail, "no path") { $0.uri("spiffe://td.test") },
    ]

    static let authorities: [Case] = [
        Case("X-1", .warn, "no URI") { $0.names = [] },
        Case("X-1", .warn, "the standard's own example") { $0.uri("spiffe://example.com/") },
        Case("X-1", .fail, "two URIs") { $0.uri("spiffe://a", "spiffe://b") },
        Case("X-2", .pass, "other names") { $0.names += [.dnsName("a")] },
        Case("X-3", .fail, "no subject") { $0.subject = nil },
        Case("X-4", .fail, "path") { $0.uri("spiffe://td.test/ca") },
        Case("X-5", .warn, "no URI") { $0.names = [] },
        Case("X-6", .pass, "path length") { $0.constraints = .isCertificateAuthority(maxPathLength: 1) },
        Case("X-7", .fail, "key usage missing") { $0.usage = nil },
        Case("X-8", .warn, "digitalSignature") { $0.usage = KeyUsage(digitalSignature: true, keyCertSign: true) },
        Case("X-10", .fail, "no keyCertSign") { $0.usage = KeyUsage(cRLSign: true) },
        Case("X-11", .pass, "no cRLSign") { $0.usage = KeyUsage(keyCertSign: true) },
        Case("X-12", .warn, "extended key usage") { $0.purposes = [.serverAuth] },
        Case("X-13", .warn, "name constraints") { $0.nameConstraints = NameConstraints(permittedURIDomains: ["a"]) },
        Case("X-14", .pass, "a CA") { _ in },
    ]

    private func severity(_ rule: String, _ findings: [SVIDLint.Finding]) -> SVIDLint.Severity? {
        findings.first { $0.rule == rule }?.severity
    }

    @Test("judges leaves", arguments: leaves)
    func leaf(row: Case) throws {
        let findings = SVIDLint.findings(for: try TestAuthority.root().leaf("spiffe://td.test/a", row.change))
        #expect(severity(row.rule, findings) == row.severity, "\(findings)")
    }

    @Test("judges signing certificates", arguments: authorities)
    func authority(row: Case) throws {
        let findings = SVIDLint.findings(for: try TestAuthority.root("td.test", name: nil, row.change).certificate)
        #expect(severity(row.rule, findings) == row.severity, "\(findings)")
    }

    @Test("good certificates pass every rule, in the rules' order")
    func good() throws {
        let root = try TestAuthority.root()
        let leaf = SVIDLint.findings(for: try root.leaf(), issuers: [root.certificate])
        #expect(leaf.allSatisfy { $0.severity == .pass }, "\(leaf)")
        #expect(leaf.map(\.rule) == (1...16).map { "X-\($0)" })
        let authority = SVIDLint.findings(for: root.certificate)
        #expect(authority.allSatisfy { $0.severity == .pass }, "\(authority)")
        // speak of leaves only.
        #expect(authority.map(\.rule) == (1...15).filter { $0 != 9 }.map { "X-\($0)" })
    }

    @Test("X-6: each kind is held to its own rule when the caller says what it must be")
    func kind() throws {
        let root = try TestAuthority.root()
        #expect(severity("X-6", SVIDLint.findings(for: root.certificate, kind: .leaf)) == .fail)
        #expect(severity("X-6", SVIDLint.findings(for: try root.leaf(), kind: .authority)) == .fail)
    }

    @Test("X-15 and X-5: the next certificate is the issuer, and of the same trust domain")
    func chain() throws {
        let (root, foreign) = (try TestAuthority.root(), try TestAuthority.root("other.test"))
        let leaf = try root.leaf()
        #expect(severity("X-15", SVIDLint.findings(for: leaf, issuers: [foreign.certificate])) == .fail)
        #expect(severity("X-5", SVIDLint.findings(for: leaf, issuers: [foreign.certificate])) == .warn)
    }
}
