import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

@Suite("A node whose SVID has expired")
struct ExpiredNodeTests {
    private struct Away {
        let fixture: AuthorityFixture
        let node: SPIFFEID
        let serial: String
        let end: Date
    }

    /// node-a, back after its SVID has been over for `time`.
    private func away(_ time: Duration, configured: (inout CertificateAuthority.Configuration) -> Void = { _ in })
        async throws -> Away
    {
        let fixture = try await AuthorityFixture(configured: configured)
        let token = try await fixture.authority.createJoinToken(node: NodeName("node-a")).token
        let svid = try await fixture.authority.attestNode(token: token.text, csr: try request(), source: "test")
        fixture.clock.advance(.seconds(3600) + time)
        // As a running authority would have done meanwhile.
        try await fixture.authority.maintain()
        return Away(fixture: fixture, node: svid.id, serial: svid.record.serial, end: svid.notAfter)
    }

    private func renew(_ away: Away, serial: String? = nil) async throws -> IssuedSVID {
        try await away.fixture.authority.renewExpiredNode(
            csr: request(), caller: NodeCaller(id: away.node, serial: serial ?? away.serial), expiredAt: away.end)
    }

    @Test("renews it within the grace, without an operator; the audit log says so")
    func renewed() async throws {
        let away = try await away(.seconds(6 * 86400))
        let svid = try await renew(away)
        #expect(svid.id == away.node)
        #expect(svid.notAfter > away.fixture.clock.now)
        #expect(
            away.fixture.audit.all.contains(
                .nodeRenewedAfterExpiry(try NodeName("node-a"), serial: away.serial, expiredAt: away.end)))
    }

    @Test("is refused after the grace, to the second")
    func tooLate() async throws {
        let away = try await away(.seconds(7 * 86400))
        _ = try await renew(away)
        let late = try await self.away(.seconds(7 * 86400 + 1))
        await #expect(throws: Denial.expired(try NodeName("node-a"), at: late.end, grace: .seconds(7 * 86400))) {
            try await renew(late)
        }
        #expect(late.fixture.authority.counts.deniedByReason["expired"] == 1)
    }

    @Test("is refused where the operator has turned the grace off")
    func off() async throws {
        let away = try await away(.seconds(1)) { $0.nodeGrace = .zero }
        await #expect(throws: Denial.self) { try await renew(away) }
    }

    @Test("is refused with an SVID that is not its last one")
    func copy() async throws {
        let away = try await away(.seconds(60))
        _ = try await renew(away)
        let second = try await away.fixture.join("node-a")
        #expect(second.id == away.node)
        await #expect(throws: Denial.self) { try await renew(away) }
        await #expect(throws: Denial.self) { try await renew(away, serial: "00") }
    }

    @Test("is refused if no such node has attested here, and for what is no node")
    func unknown() async throws {
        let away = try await away(.seconds(60))
        for path in ["/culvert/node/node-z", "/ns/shop/sa/web", "/culvert/authority"] {
            let id = try SPIFFEID(trustDomain: AuthorityFixture.trustDomain, path: path)
            await #expect(throws: Denial.notAttested(id.description)) {
                try await away.fixture.authority.renewExpiredNode(
                    csr: request(), caller: NodeCaller(id: id, serial: away.serial), expiredAt: away.end)
            }
        }
    }
}
