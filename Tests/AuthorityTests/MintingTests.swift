import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import Authority

@Suite("An SVID for the operator")
struct MintingTests {
    private func id(_ path: String) throws -> SPIFFEID {
        try SPIFFEID(trustDomain: AuthorityFixture.trustDomain, path: path)
    }

    @Test("is recorded and audited with its reason, and is like any leaf")
    func minted() async throws {
        let fixture = try await AuthorityFixture()
        let minted = try await fixture.authority.mint(
            id("/ns/shop/sa/web"), csr: request(), lifetime: .seconds(600), reason: "ticket 4711")
        #expect(minted.clampedFrom == nil)
        #expect(minted.svid.notAfter == fixture.clock.now.addingTimeInterval(600))
        #expect(
            fixture.audit.all.last
                == .minted(minted.svid.record, clampedFrom: nil, reason: "ticket 4711", by: .thisProcess))
        #expect(try await fixture.store.issuances(limit: 1) == [minted.svid.record])
        let verdict = PeerVerifier(bundles: fixture.bundles).verify(
            chainDER: minted.svid.certificates.map { $0.der() }, role: .client, now: fixture.clock.now)
        guard case .verified(let peer) = verdict else { throw NotVerified(verdict: "\(verdict)") }
        #expect(peer.id == (try id("/ns/shop/sa/web")))
    }

    private struct NotVerified: Error { let verdict: String }

    @Test(
        "ends when a pod's would at the latest",
        arguments: [(Duration.seconds(7200), true), (.seconds(3600), false), (nil, false)])
    func clamped(asked: Duration?, isClamped: Bool) async throws {
        let fixture = try await AuthorityFixture()
        let minted = try await fixture.authority.mint(id("/x"), csr: request(), lifetime: asked, reason: "r")
        #expect(minted.svid.notAfter == fixture.clock.now.addingTimeInterval(3600))
        #expect(minted.clampedFrom == (isClamped ? fixture.clock.now.addingTimeInterval(7200) : nil))
        #expect(fixture.authority.status().clamped == (isClamped ? 1 : 0))
    }

    @Test(
        "is refused for Culvert's own identities and for other trust domains",
        arguments: [
            "spiffe://culvert.test/culvert", "spiffe://culvert.test/culvert/node/node-a",
            "spiffe://culvert.test/culvert/authority", "spiffe://culvert.test", "spiffe://elsewhere.test/x",
        ])
    func refused(text: String) async throws {
        let fixture = try await AuthorityFixture()
        await #expect(throws: Denial.self) {
            try await fixture.authority.mint(SPIFFEID(text), csr: request(), lifetime: nil, reason: "r")
        }
        #expect(try await fixture.store.issuances(limit: 1).isEmpty)
        #expect(fixture.authority.status().denied == 1)
    }

    @Test("is not made with an authority's own key, nor from what is no request")
    func badRequests() async throws {
        let fixture = try await AuthorityFixture()
        for csr in [[], [0x30, 0x00], Array(repeating: 0xff, count: 100)] as [[UInt8]] {
            await #expect(throws: Denial.self) {
                try await fixture.authority.mint(id("/x"), csr: csr, lifetime: nil, reason: "r")
            }
        }
    }
}
