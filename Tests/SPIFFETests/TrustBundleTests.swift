import FoundationEssentials
import SPIFFE
import SeededRandom
import SwiftASN1
import Testing
import X509

/// The bundle side of the dossier's list 1.8, whole: B1 to B17.
@Suite("Trust bundles (list 1.8, B1 to B17)")
struct TrustBundleTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let row: Int
        let name: String
        /// How many authorities are read; `nil`: refused.
        var authorities: Int?
        /// A JWKS; `$A`, `$B` stand for two certificates in base64, `$M` for one in PEM's line breaks, `$U` for
        /// base64url.
        let text: String
        var testDescription: String { "B\(row): \(name)" }

        func document(_ first: Certificate, _ second: Certificate) -> String {
            let base64 = Data(first.der()).base64EncodedString()
            return text.replacing("$A", with: base64)
                .replacing("$B", with: Data(second.der()).base64EncodedString())
                .replacing("$M", with: first.pem().replacing("\n", with: "\\n"))
                .replacing("$U", with: base64.replacing("+", with: "-").replacing("/", with: "_") + "-")
        }
    }

    static let table: [Case] = [
        Case(row: 1, name: "keys missing", text: #"{"spiffe_sequence":1}"#),
        Case(row: 1, name: "keys is not an array", text: #"{"keys":{}}"#),
        Case(row: 1, name: "not an object", text: "[]"),
        Case(row: 2, name: "keys empty", authorities: 0, text: #"{"keys":[]}"#),
        Case(row: 3, name: "unknown use", authorities: 0, text: #"{"keys":[{"use":"sig","kty":"EC","x5c":["$A"]}]}"#),
        Case(
            row: 3, name: "use in other letters", authorities: 0,
            text: #"{"keys":[{"use":"X509-SVID","kty":"EC","x5c":["$A"]}]}"#),
        Case(row: 4, name: "use missing", authorities: 0, text: #"{"keys":[{"kty":"EC","x5c":["$A"]}]}"#),
        Case(
            row: 5, name: "unknown kty", authorities: 0,
            text: #"{"keys":[{"use":"x509-svid","kty":"AKP","x5c":["$A"]}]}"#),
        Case(row: 5, name: "kty missing", authorities: 0, text: #"{"keys":[{"use":"x509-svid","x5c":["$A"]}]}"#),
        Case(row: 6, name: "x5c missing", authorities: 0, text: #"{"keys":[{"use":"x509-svid","kty":"EC"}]}"#),
        Case(row: 6, name: "x5c empty", authorities: 0, text: #"{"keys":[{"use":"x509-svid","kty":"EC","x5c":[]}]}"#),
        Case(
            row: 7, name: "two in x5c: the first counts", authorities: 1,
            text: #"{"keys":[{"use":"x509-svid","kty":"EC","x5c":["$A","$B"]}]}"#),
        Case(row: 8, name: "x5c in PEM", text: #"{"keys":[{"use":"x509-svid","kty":"EC","x5c":["$M"]}]}"#),
        Case(row: 8, name: "x5c in base64url", text: #"{"keys":[{"use":"x509-svid","kty":"EC","x5c":["$U"]}]}"#),
        Case(
            row: 8, name: "x5c is not a certificate", text: #"{"keys":[{"use":"x509-svid","kty":"EC","x5c":["AQID"]}]}"#
        ),
        Case(row: 8, name: "x5c is a string", text: #"{"keys":[{"use":"x509-svid","kty":"EC","x5c":"$A"}]}"#),
        Case(
            row: 9, name: "kid beside a certificate is tolerated", authorities: 1,
            text: #"{"keys":[{"use":"x509-svid","kty":"EC","kid":"a","x5c":["$A"]}]}"#),
        Case(row: 10, name: "jwt-svid without kid", text: #"{"keys":[{"use":"jwt-svid","kty":"EC"}]}"#),
        Case(row: 10, name: "jwt-svid with an empty kid", text: #"{"keys":[{"use":"jwt-svid","kty":"EC","kid":""}]}"#),
        Case(
            row: 10, name: "jwt-svid and wit-svid with kid, which are not ours", authorities: 0,
            text: #"{"keys":[{"use":"jwt-svid","kty":"EC","kid":"a"},{"use":"wit-svid","kty":"EC","kid":"b"}]}"#),
        Case(
            row: 11, name: "sequence 2^63-1", authorities: 0,
            text: #"{"spiffe_sequence":9223372036854775807,"keys":[]}"#),
        Case(row: 11, name: "sequence 2^63", text: #"{"spiffe_sequence":9223372036854775808,"keys":[]}"#),
        Case(row: 11, name: "negative sequence", text: #"{"spiffe_sequence":-1,"keys":[]}"#),
        Case(row: 11, name: "fraction", text: #"{"spiffe_sequence":1.0,"keys":[]}"#),
        Case(row: 11, name: "exponent", text: #"{"spiffe_sequence":1e3,"keys":[]}"#),
        Case(row: 11, name: "sequence in quotes", text: #"{"spiffe_sequence":"1","keys":[]}"#),
        Case(row: 11, name: "refresh hint in quotes", text: #"{"spiffe_refresh_hint":"300","keys":[]}"#),
        Case(row: 14, name: "a member twice", text: #"{"keys":[],"keys":[]}"#),
        Case(
            row: 15, name: "the same certificate twice", authorities: 1,
            text: #"{"keys":[{"use":"x509-svid","kty":"EC","x5c":["$A"]},{"use":"x509-svid","kty":"EC","x5c":["$A"]}]}"#
        ),
        Case(
            row: 16, name: "key type contradicts the certificate",
            text: #"{"keys":[{"use":"x509-svid","kty":"RSA","x5c":["$A"]}]}"#),
        Case(
            row: 16, name: "curve contradicts the certificate",
            text: #"{"keys":[{"use":"x509-svid","kty":"EC","crv":"P-384","x5c":["$A"]}]}"#),
        Case(
            row: 16, name: "coordinate contradicts the certificate",
            text: #"{"keys":[{"use":"x509-svid","kty":"EC","crv":"P-256","x":"AAAA","x5c":["$A"]}]}"#),
        Case(row: 17, name: "more than 1 MiB", text: #"{"keys":[]}"# + String(repeating: " ", count: 1 << 20)),
    ]

    @Test("reads each row as the list says", arguments: table)
    func reads(row: Case) throws {
        let (first, second) = (try TestAuthority.root().certificate, try TestAuthority.root().certificate)
        let text = row.document(first, second)
        guard let expected = row.authorities else {
            #expect(throws: TrustBundleError.self) {
                try TrustBundle(trustDomain: TrustDomain("td.test"), jwks: text.utf8)
            }
            return
        }
        let bundle = try TrustBundle(trustDomain: TrustDomain("td.test"), jwks: text.utf8)
        #expect(bundle.authorities == Array([first].prefix(expected)))
    }

    @Test("every row of the list is tested")
    func everyRow() {
        let inOtherTests: Set<Int> = [12, 13]
        #expect(Set(Self.table.map(\.row)).union(inOtherTests) == Set(1...17))
    }

    @Test("B12 and B13: an old copy and another content under the same number are told apart, and not taken")
    func succession() throws {
        let domain = try TrustDomain("td.test")
        let (first, second) = (try TestAuthority.root().certificate, try TestAuthority.root().certificate)
        func bundle(_ sequence: UInt64, _ authorities: Certificate...) throws -> TrustBundle {
            try TrustBundle(trustDomain: domain, authorities: authorities, sequence: sequence)
        }
        var set = TrustBundleSet()
        #expect(set.update(try bundle(7, first)) == .newer)
        #expect(set.update(try bundle(7, first)) == .unchanged)
        #expect(set.update(try bundle(7, second)) == .conflicting)
        #expect(set.update(try bundle(6, second)) == .older)
        #expect(set[domain] == (try bundle(7, first)))
        #expect(set.update(try bundle(8, second, first)) == .newer)
        #expect(set.update(try bundle(8, first, second)) == .unchanged)
        #expect(set[domain]?.sequence == 8)
    }

    @Test("B14: a bundle map with one domain twice is refused; without, it round-trips, hint left out")
    func bundleMap() throws {
        #expect(throws: TrustBundleError.self) {
            try TrustBundleSet(bundleMap: #"{"trust_domains":{"a":{"keys":[]},"a":{"keys":[]}}}"#.utf8)
        }
        for text in [
            #"{}"#, #"{"trust_domains":[]}"#, #"{"trust_domains":{"A":{"keys":[]}}}"#, #"{"trust_domains":{"a":{}}}"#,
        ] {
            #expect(throws: TrustBundleError.self) { try TrustBundleSet(bundleMap: text.utf8) }
        }
        let set = TrustBundleSet([
            try TrustBundle(
                trustDomain: TrustDomain("a.test"), authorities: [TestAuthority.root().certificate], sequence: 3),
            try TrustBundle(trustDomain: TrustDomain("b.test"), authorities: [], sequence: 4),
        ])
        #expect(try TrustBundleSet(bundleMap: set.bundleMap().utf8) == set)
        #expect(!set.bundleMap().contains("refresh"))
    }

    @Test("JWKS round-trips for every kind of key, and never has a kid")
    func jwks() throws {
        let rsa = try Certificate(pemEncoded: Fixture.text("root-rsa"))
        let bundle = try TrustBundle(
            trustDomain: TrustDomain("td.test"), authorities: keyedRoots() + [rsa], sequence: .init(Int64.max),
            refreshHint: 300)
        let text = bundle.jwks()
        #expect(try TrustBundle(trustDomain: bundle.trustDomain, jwks: text.utf8) == bundle)
        #expect(!text.contains("kid"))
        for words in [#""crv":"P-256""#, #""crv":"P-384""#, #""crv":"P-521""#, #""crv":"Ed25519""#, #""e":"AQAB""#] {
            #expect(text.contains(words))
        }
    }

    @Test("PEM round-trips, and what does not belong there is named with its line")
    func pem() throws {
        let domain = try TrustDomain("td.test")
        let (first, second) = (try TestAuthority.root(), try TestAuthority.root())
        let both = try bundle("td.test", first, second)
        #expect(try TrustBundle(trustDomain: domain, pem: "# roots\n" + both.pem()) == both)
        func error(_ text: String) -> TrustBundleError? {
            do { _ = try TrustBundle(trustDomain: domain, pem: text) } catch { return error }
            return nil
        }
        #expect(error("") == .noCertificates)
        let key = "-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n"
        #expect(error(first.certificate.pem().split(separator: "\n").joined(separator: "\n") + "\n" + key) != nil)
        #expect(error("\n" + key) == .privateKey(line: 2))
        #expect(
            error(key.replacing("PRIVATE KEY", with: "PUBLIC KEY")) == .unexpectedBlock(label: "PUBLIC KEY", line: 1))
        #expect(error(key.replacing("PRIVATE KEY", with: "CERTIFICATE")) == .malformedCertificate(position: 1))
        #expect(error(try first.certificate.pem() + first.leaf().pem()) == .notAnAuthority(position: 2))
    }

    @Test("changed bytes never crash the reader, and never bring an authority that was not there")
    func fuzz() throws {
        var generator = SeededGenerator(seed: 0xb07d1e)
        let original = try bundle("td.test", .root(), .root())
        let text = Array(original.jwks().utf8)
        for _ in 0..<3000 {
            let changed = try? TrustBundle(trustDomain: original.trustDomain, jwks: generator.mutation(of: text))
            for authority in changed?.authorities ?? [] {
                // A changed certificate may decode; it must then not be one of ours with other content.
                #expect(
                    original.authorities.contains(authority)
                        || !original.authorities.contains { $0.der() == authority.der() })
            }
        }
    }
}
