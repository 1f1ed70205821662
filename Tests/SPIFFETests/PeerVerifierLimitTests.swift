import FoundationEssentials
import SPIFFE
import SwiftASN1
import Testing
import X509

@Suite("What a peer can make the verifier do is bounded")
struct PeerVerifierLimitTests {
    private func refusal(_ chain: [[UInt8]], by bundle: TrustBundle) throws -> PeerRefusal? {
        let verdict = PeerVerifier(bundles: TrustBundleSet([bundle])).verify(
            chainDER: chain, role: .client, now: testNow)
        guard case .refused(let reason) = verdict else { return nil }
        return reason
    }

    @Test("four intermediates are verified, five are refused unread", arguments: [4, 5])
    func chainLength(intermediates: Int) throws {
        let root = try TestAuthority.root()
        var issuers = [root]
        for level in 0..<intermediates { issuers.append(try issuers[level].intermediate(name: "level \(level)")) }
        let leaf = try issuers[intermediates].leaf()
        let chain = [leaf.der()] + issuers.dropFirst().reversed().map { $0.certificate.der() }
        let expected: PeerRefusal? = intermediates > 4 ? .tooManyCertificates(6, limit: 5) : nil
        #expect(try refusal(chain, by: bundle("td.test", root)) == expected)
    }

    @Test("a certificate of more than 16 KiB is refused unread")
    func certificateSize() throws {
        let root = try TestAuthority.root()
        let big = try root.leaf { $0.names += (0..<1000).map { .dnsName("name-\($0).example.org") } }
        #expect(
            try refusal([big.der()], by: bundle("td.test", root))
                == .certificateTooLarge(position: 1, bytes: big.der().count, limit: 16384))
    }

    @Test("garbage, a cut certificate and bytes after one are refused")
    func garbage() throws {
        let root = try TestAuthority.root()
        let leaf = try root.leaf().der()
        let trusted = try bundle("td.test", root)
        for bytes in [[], [0x30], Array(leaf.dropLast()), leaf + [0], [UInt8](repeating: 0x30, count: 4096)] {
            #expect(try refusal([bytes], by: trusted) == .malformedCertificate(position: 1))
            #expect(try refusal([leaf, bytes], by: trusted) == .malformedCertificate(position: 2))
        }
    }

    @Test("weak, huge and unknown keys are refused", arguments: ["leaf-rsa-1024", "leaf-rsa-9216", "leaf-p224"])
    func keys(fixture: String) throws {
        let trusted = try TrustBundle(trustDomain: TrustDomain("td.test"), pem: Fixture.text("root-rsa"))
        let der = try PEMBlock.read(Fixture.text(fixture).utf8)[0].der
        switch try refusal([der], by: trusted) {
        case .unacceptableKey(position: 1, .rsa), .malformedCertificate(position: 1): break
        case let other: Issue.record("\(String(describing: other))")
        }
    }

    @Test("certificates that all sign each other do not make the search long")
    func searchIsBounded() throws {
        // One key and one name, four certificates that differ in their names: every order of them is plausible.
        let attacker = try TestAuthority.root(name: "root")
        let copies = try (0..<4).map { index in
            try TestAuthority.root(name: "root") { plan in
                plan.key = attacker.key
                plan.uri("spiffe://td.test/\(index)")
            }
        }
        let roots = try (0..<100).map { _ in try TestAuthority.root(name: "root").certificate }
        let trusted = try TrustBundle(trustDomain: TrustDomain("td.test"), authorities: roots)
        let chain = [try attacker.leaf().der()] + copies.map { $0.certificate.der() }
        let duration = ContinuousClock().measure {
            #expect((try? refusal(chain, by: trusted)) != nil)
        }
        // 16 steps over 100 roots; the whole search would be 65.
        #expect(duration < .seconds(5), "\(duration)")
    }

    @Test("the identity lasts as long as the first certificate to end, root included")
    func earliestEnd() throws {
        let early = testNow.addingTimeInterval(60)
        let root = try TestAuthority.root { $0.notAfter = early }
        let chain = [try root.leaf().der()]
        let verdict = PeerVerifier(bundles: TrustBundleSet([try bundle("td.test", root)]))
            .verify(chainDER: chain, role: .server, now: testNow)
        guard case .verified(let peer) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        #expect(peer.notAfter == early)
        #expect(peer.id.workload.map { "\($0.namespace) \($0.serviceAccount)" } == "shop web")
    }

    @Test("a refusal is one printable line, whatever the peer wrote")
    func printable() throws {
        let root = try TestAuthority.root { $0.constraints = .isCertificateAuthority(maxPathLength: 0) }
        let evil = try root.intermediate(name: "evil\nculvert: accepted \u{1b}[2J")
        let reason = try refusal([evil.leaf().der(), evil.certificate.der()], by: bundle("td.test", root))
        let text = try #require(reason).description
        #expect(text.utf8.allSatisfy { (0x20...0x7e).contains($0) }, "\(text)")
        #expect(text.utf8.count < 400)
    }
}
