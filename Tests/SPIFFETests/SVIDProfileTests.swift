import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import Testing
import X509

/// The issue side of the dossier's list 1.8, as far as certificates show it: I1 to I9, I12 (keys), I13, I14.
///
/// Tested in AuthorityTests, because only an authority can be asked: I5 (serial numbers never repeat), I7 (the end is
/// clamped to the issuer's), I8 (back-dating by the configured skew), I10 (what a CSR asks for is not copied), I11 (a
/// CSR's
/// signature), I12 (CSRs with weak keys), I13 (a CSR with the CA's key).
@Suite("What may leave the authority (list 1.8, I1 to I14)")
struct SVIDProfileTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let rule: String
        let name: String
        let change: @Sendable (inout CertificatePlan) -> Void
        var testDescription: String { "\(rule): \(name)" }

        init(_ rule: String, _ name: String, _ change: @escaping @Sendable (inout CertificatePlan) -> Void) {
            (self.rule, self.name, self.change) = (rule, name, change)
        }
    }

    static let table: [Case] = [
        Case("I1", "no URI") { $0.names = [.dnsName("a")] },
        Case("I1", "two URIs") { $0.uri("spiffe://td.test/a", "spiffe://td.test/a") },
        Case("I1", "not an ID") { $0.uri("spiffe://td.test/a/") },
        Case("I1", "no path") { $0.uri("spiffe://td.test") },
        Case("I2", "no key usage") { $0.usage = nil },
        Case("I2", "key usage not critical") { $0.usageCritical = false },
        Case("I2", "no digitalSignature") { $0.usage = KeyUsage(keyAgreement: true) },
        Case("I2", "keyCertSign") { $0.usage = KeyUsage(digitalSignature: true, keyCertSign: true) },
        Case("I2", "cRLSign") { $0.usage = KeyUsage(digitalSignature: true, cRLSign: true) },
        Case("I2", "keyEncipherment with an EC key") {
            $0.usage = KeyUsage(digitalSignature: true, keyEncipherment: true)
        },
        Case("I3", "no extended key usage") { $0.purposes = nil },
        Case("I3", "only clientAuth") { $0.purposes = [.clientAuth] },
        Case("I3", "only serverAuth") { $0.purposes = [.serverAuth] },
        Case("I4", "no basicConstraints") { $0.constraints = nil },
        Case("I4", "cA true") { $0.constraints = .isCertificateAuthority(maxPathLength: 0) },
        Case("I5", "serial number zero") { $0.serial = .init(bytes: [0]) },
        Case("I5", "serial number of 21 octets") { $0.serial = .init(bytes: [UInt8](repeating: 1, count: 21)) },
        Case("I5", "serial number of 20 octets, 21 in DER") {
            $0.serial = .init(bytes: [UInt8](repeating: 0x80, count: 20))
        },
        Case("I6", "another authority's key identifier") { $0.authorityKeyIdentifier = [1, 2, 3] },
        Case("I7", "outlives its issuer") { $0.notAfter = testNow.addingTimeInterval(7201) },
        Case("I8", "another beginning than now - skew") { $0.notBefore = testNow.addingTimeInterval(-3590) },
        Case("I8", "ends before it begins") { $0.notAfter = $0.notBefore.addingTimeInterval(-1) },
        Case("I9", "no subject, names not critical") { $0.namesCritical = false },
        Case("I9", "subject, names critical") {
            $0.subject = "web"
            $0.namesCritical = true
        },
    ]

    @Test("names the broken rule, and no other", arguments: table)
    func names(row: Case) throws {
        let root = try TestAuthority.root()
        let violations = SVIDProfile.violations(
            leaf: try root.leaf("spiffe://td.test/ns/a/sa/b", row.change), issuer: root.certificate,
            expectedNotBefore: testNow.addingTimeInterval(-3600))
        #expect(Set(violations.map(\.rule)) == [row.rule], "\(violations)")
    }

    @Test("a good leaf breaks none, with or without a subject")
    func good() throws {
        let root = try TestAuthority.root()
        for subject in [nil, "web"] {
            let leaf = try root.leaf { $0.subject = subject }
            #expect(SVIDProfile.violations(leaf: leaf, issuer: root.certificate).isEmpty)
        }
    }

    @Test("I12: an RSA leaf may encipher keys; P-224 cannot even be decoded; weak and huge RSA are named")
    func keys() throws {
        let root = try Certificate(pemEncoded: Fixture.text("root-rsa"))
        let good = try Certificate(pemEncoded: Fixture.text("leaf-rsa-2048"))
        #expect(SVIDProfile.violations(leaf: good, issuer: root).isEmpty)
        #expect(throws: (any Error).self) { try Certificate(pemEncoded: Fixture.text("leaf-p224")) }
        for name in ["leaf-rsa-1024", "leaf-rsa-9216"] {
            guard let leaf = try? Certificate(pemEncoded: Fixture.text(name)) else { continue }
            #expect(SVIDProfile.violations(leaf: leaf, issuer: root).map(\.rule) == ["I12"])
        }
    }

    @Test("I13: a leaf with its issuer's key")
    func issuersKey() throws {
        let root = try TestAuthority.root()
        let leaf = try root.leaf { $0.key = root.key }
        #expect(SVIDProfile.violations(leaf: leaf, issuer: root.certificate).map(\.rule) == ["I13"])
    }

    @Test("I14: UTCTime through 2049, GeneralizedTime from 2050")
    func times() throws {
        let end = Date(timeIntervalSince1970: 2_540_000_000)  // June 2050
        let root = try TestAuthority.root { $0.notAfter = end }
        let leaf = try root.leaf { $0.notAfter = end }
        #expect(SVIDProfile.violations(leaf: leaf, issuer: root.certificate).isEmpty)
        // The tag of a time is one byte: turn the last one of the leaf into the other kind.
        var wrong = leaf.der()
        let at = try #require(wrong.firstIndex(ofSequence: [0x18, 0x0f]))
        wrong[at] = 0x17
        if let decoded = try? Certificate(derEncoded: wrong) {
            #expect(SVIDProfile.violations(leaf: decoded, issuer: root.certificate).map(\.rule).contains("I14"))
        }
        // A year before 2050 as GeneralizedTime: legal DER, against RFC 5280.
        let early = leaf.der().replacingYear("2050", with: "2040")
        let decoded = try Certificate(derEncoded: early)
        #expect(SVIDProfile.violations(leaf: decoded, issuer: root.certificate).map(\.rule).contains("I14"))
    }

    @Test("a leaf that another issuer signed")
    func stranger() throws {
        let (root, other) = (try TestAuthority.root(), try TestAuthority.root())
        let violations = SVIDProfile.violations(leaf: try root.leaf(), issuer: other.certificate)
        #expect(Set(violations.map(\.rule)) == ["I6", "chain"])
    }

    @Test("every row of the list that a certificate can show is tested")
    func everyRow() {
        let inOtherTests: Set<String> = ["I12", "I13", "I14"]
        let askedOfTheAuthority: Set<String> = ["I10", "I11"]
        let tested = Set(Self.table.map(\.rule)).union(inOtherTests).union(askedOfTheAuthority)
        #expect(tested == Set((1...14).map { "I\($0)" }))
    }
}

extension [UInt8] {
    fileprivate func firstIndex(ofSequence bytes: [UInt8]) -> Int? {
        indices.first { self[$0...].starts(with: bytes) }
    }

    fileprivate func replacingYear(_ year: String, with other: String) -> [UInt8] {
        var copy = self
        guard let at = firstIndex(ofSequence: Array(year.utf8)) else { return copy }
        copy.replaceSubrange(at..<(at + 4), with: Array(other.utf8))
        return copy
    }
}
