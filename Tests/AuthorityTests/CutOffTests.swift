import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

@Suite("Nodes that an emergency rotation does not wait for")
struct CutOffTests {
    private func reports(
        _ fixture: AuthorityFixture, _ node: NodeCaller, sequence: UInt64? = nil, holding issuer: AuthorityID? = nil
    ) async throws {
        let end = fixture.clock.now.addingTimeInterval(3600).unixSeconds
        try await fixture.authority.acknowledge(
            sequence: sequence ?? fixture.authority.bundle.current.sequence, version: "test",
            leaves: issuer.map { [.init(authority: $0, count: 2, oldestExpiry: end)] } ?? [], caller: node)
    }

    private func signer(_ fixture: AuthorityFixture) throws -> AuthorityID {
        try #require(
            fixture.authority.status().authorities.first { $0.kind == .intermediate && $0.state == .active }?.id)
    }

    /// Two nodes, one of which does not come back while the root is replaced.
    private func rotated() async throws -> (AuthorityFixture, late: NodeCaller, prompt: NodeCaller) {
        let fixture = try await AuthorityFixture()
        let (late, prompt) = (try await fixture.join("node-a"), try await fixture.join("node-b"))
        let old = try signer(fixture)
        for node in [late, prompt] { try await reports(fixture, node, holding: old) }
        fixture.clock.advance(.seconds(1))
        _ = try await fixture.authority.rotate(.rotateInEmergency(reason("a tape is lost")))
        #expect(fixture.authority.status().cutOff.isEmpty)
        try await reports(fixture, prompt, holding: old)
        fixture.clock.advance(.seconds(60))
        try await fixture.authority.maintain()
        #expect(fixture.authority.status().rotation.tainted.count == 1)
        fixture.clock.advance(.seconds(1))
        try await reports(fixture, prompt)
        fixture.clock.advance(.seconds(900))
        try await reports(fixture, prompt)
        try await fixture.authority.maintain()
        #expect(fixture.authority.status().rotation.rotation == nil)
        return (fixture, late, prompt)
    }

    @Test("are counted and named in the journal, the audit trail and the status, with what was waited for")
    func said() async throws {
        let (fixture, late, _) = try await rotated()
        let name = try NodeName("node-a")
        let steps = try await fixture.authority.rotationHistory(limit: 10).filter { $0.override?.cutOff != nil }
        #expect(steps.map(\.step.word) == ["revoked", "activated"])
        for step in steps {
            let override = try #require(step.override)
            #expect(override.cutOff?.names == ["node-a"] && override.cutOff?.count == 1)
            #expect(override.waivedWait.contains("node-a") && override.reason == reason("a tape is lost"))
            #expect(fixture.audit.all.contains(.nodesCutOff(try #require(override.cutOff), by: step)))
        }
        let status = fixture.authority.status()
        #expect(status.cutOff.map(\.name) == [name])
        #expect(status.cutOff[0].because.hasPrefix("it has bundle 1,"))
        #expect(
            status.warnings.count == 1 && status.warnings[0].hasPrefix("1 node is cut off: node-a (it has bundle 1,"))
        // What it holds is under a root that nobody trusts; by its name it is still known, which is how a new token finds it.
        #expect(fixture.authority.bundle.current.authorities.count == 1)
        try fixture.authority.checkStanding(of: late)
    }

    @Test("are so no more once they attest anew, are banned, or are forgotten")
    func back() async throws {
        let (fixture, _, _) = try await rotated()
        let (name, caller) = (try NodeName("node-a"), AdminCaller(uid: 0, pid: 1))
        try await fixture.authority.ban(name, reason: "lost", by: caller)
        #expect(fixture.authority.status().cutOff.isEmpty)
        try await fixture.authority.unban(name, reason: "found", by: caller)
        #expect(fixture.authority.status().cutOff.map(\.name) == [name])
        try await fixture.join("node-a")
        #expect(fixture.authority.status().cutOff.isEmpty && fixture.authority.status().warnings.isEmpty)
    }

    @Test("and one that has the new bundle is, as long as it says that it uses what was revoked")
    func dependent() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let old = try signer(fixture)
        try await reports(fixture, node, holding: old)
        fixture.clock.advance(.seconds(1))
        _ = try await fixture.authority.rotate(.rotateInEmergency(reason("a tape is lost")))
        for seconds in [1, 1, 900] {
            try await reports(fixture, node, holding: old)
            try await fixture.authority.maintain()
            fixture.clock.advance(.seconds(seconds))
        }
        try await reports(fixture, node, holding: old)
        try await fixture.authority.maintain()
        let revoked = try #require(
            try await fixture.authority.rotationHistory(limit: 10).first { $0.step.word == "revoked" })
        #expect(revoked.override?.cutOff?.names == ["node-a"])
        #expect(
            fixture.authority.status().cutOff.map(\.because) == ["it uses certificates under a root that was revoked"])
        try await reports(fixture, node, holding: signer(fixture))
        #expect(fixture.authority.status().cutOff.isEmpty)
    }
}
