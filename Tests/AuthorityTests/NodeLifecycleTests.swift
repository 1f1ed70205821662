import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

@Suite("Nodes that are renewed, copied, banned and forgotten") struct NodeLifecycleTests {
    private let operatorUser = AdminCaller(uid: 1000, pid: 42)

    private func node(_ name: String = "node-a") throws -> NodeName { try NodeName(name) }

    private func token(_ fixture: AuthorityFixture) async throws -> String {
        try await fixture.authority.createJoinToken(node: node()).token.text
    }

    private func renew(_ fixture: AuthorityFixture, _ caller: NodeCaller) async throws -> NodeCaller {
        NodeCaller(try await fixture.authority.renewNode(csr: request(), caller: caller))
    }

    private func signer(_ fixture: AuthorityFixture) throws -> AuthorityID {
        try #require(
            fixture.authority.status().authorities.first { $0.kind == .intermediate && $0.state == .active }?.id)
    }

    private func issue(_ fixture: AuthorityFixture, _ caller: NodeCaller) async throws {
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: caller)
    }

    // MARK: Clones

    @Test(
        "which SVID is shown decides: the one in use, its successor, or one that was replaced",
        arguments: [("aa", .current), ("bb", .successor), ("cc", .superseded), ("", .superseded)]
            as [(String, PresentedSVID)])
    func presented(serial: String, expected: PresentedSVID) throws {
        let record = NodeRecord(
            name: try node(), id: try SPIFFEID("spiffe://culvert.test/culvert/node/node-a"), attestedAt: Date(),
            serial: "aa", nextSerial: "bb", expiresAt: Date())
        #expect(PresentedSVID(serial: serial, of: record) == expected)
    }

    @Test("the answer to a renewal may get lost: the old SVID stays good until the new one is used, and renews again")
    func lostAnswer() async throws {
        let fixture = try await AuthorityFixture()
        let first = try await fixture.join("node-a")
        let lost = try await renew(fixture, first)
        try await issue(fixture, first)
        let second = try await renew(fixture, first)
        try await issue(fixture, second)
        let record = try #require(try await fixture.store.node(node()))
        #expect(record.serial == second.serial && record.nextSerial == nil && record.cloneSeenAt == nil)
        // What nobody has received is worth nothing.
        await #expect(throws: Denial.superseded(try node())) { try await issue(fixture, lost) }
    }

    @Test("two that hold one node's SVID: whoever renews first goes on, the other is refused, and the operator is told")
    func clone() async throws {
        let fixture = try await AuthorityFixture()
        let copied = try await fixture.join("node-a")
        let next = try await renew(fixture, copied)
        try await issue(fixture, next)
        await #expect(throws: Denial.superseded(try node())) { try await renew(fixture, copied) }
        #expect(fixture.audit.all.contains(.cloneSeen(try node(), serial: copied.serial, inUse: next.serial)))
        #expect(fixture.authority.nodes[0].cloneSeenAt == fixture.clock.now)
        #expect(try await fixture.store.node(node())?.cloneSeenAt == fixture.clock.now)
        try await issue(fixture, next)
        // A copy that asks on is not a flood of lines.
        for _ in 0..<10 { await #expect(throws: Denial.self) { try await renew(fixture, copied) } }
        #expect(fixture.audit.all.count { if case .cloneSeen = $0 { true } else { false } } == 1)
        // Both attest again with what only the operator can give: the flag is gone.
        fixture.clock.advance(.seconds(5))
        let fresh = try await fixture.join("node-a")
        try await issue(fixture, fresh)
        #expect(fixture.authority.nodes[0].cloneSeenAt == nil)
        await #expect(throws: Denial.superseded(try node())) { try await issue(fixture, next) }
    }

    @Test("calls that were under way when the new SVID was first seen are answered, for as long as a connection drains")
    func draining() async throws {
        let fixture = try await AuthorityFixture()
        let old = try await fixture.join("node-a")
        let new = try await renew(fixture, old)
        try await issue(fixture, new)
        fixture.clock.advance(PresentedSVID.drainTime - .seconds(1))
        try await issue(fixture, old)
        #expect(fixture.authority.nodes[0].cloneSeenAt == nil)
        fixture.clock.advance(.seconds(1))
        await #expect(throws: Denial.superseded(try node())) { try await issue(fixture, old) }
        #expect(fixture.authority.nodes[0].cloneSeenAt != nil)
    }

    @Test("which SVID is in use survives a restart: a copy does not come back to life")
    func restart() async throws {
        let directory = TemporaryDirectory()
        let callers: (old: NodeCaller, new: NodeCaller)
        do {
            let fixture = try await AuthorityFixture(directory: directory)
            let old = try await fixture.join("node-a")
            callers = (old, try await renew(fixture, old))
            try await issue(fixture, callers.new)
        }
        let fixture = try await AuthorityFixture(directory: directory)
        try await issue(fixture, callers.new)
        await #expect(throws: Denial.superseded(try node())) { try await issue(fixture, callers.old) }
    }

    // MARK: Ban and evict

    @Test(
        "a banned node gets nothing: no SVID, no renewal, no bundle, no attestation; unbanned, it goes on where it was")
    func ban() async throws {
        let fixture = try await AuthorityFixture()
        let caller = try await fixture.join("node-a")
        let spare = try await token(fixture)
        var stream = try await fixture.authority.bundleUpdates(for: caller).makeAsyncIterator()
        #expect(await stream.next() != nil)
        #expect(fixture.authority.bundle.followers == [try node()])
        try await fixture.authority.ban(node(), reason: "stolen", by: operatorUser)
        #expect(await stream.next() == nil)
        let banned = Denial.banned(try node())
        #expect(throws: banned) { try fixture.authority.checkStanding(of: caller) }
        await #expect(throws: banned) { try await issue(fixture, caller) }
        await #expect(throws: banned) { try await renew(fixture, caller) }
        await #expect(throws: banned) { _ = try await fixture.authority.bundleUpdates(for: caller) }
        await #expect(throws: banned) {
            try await fixture.authority.acknowledge(sequence: 1, version: "", leaves: [], caller: caller)
        }
        await #expect(throws: banned) {
            try await fixture.authority.attestNode(token: spare, csr: request(), source: "test")
        }
        await #expect(throws: JoinTokenError.banned(try node())) { try await token(fixture) }
        #expect(fixture.authority.nodes[0].ban == NodeBan(at: fixture.clock.now, reason: "stolen"))
        try await fixture.authority.unban(node(), reason: "found", by: operatorUser)
        try await issue(fixture, caller)
        // The token was refused, not used up.
        _ = try await fixture.authority.attestNode(token: spare, csr: request(), source: "test")
        #expect(fixture.audit.all.contains(.nodeBanned(try node(), reason: "stolen", by: operatorUser)))
        #expect(fixture.audit.all.contains(.nodeUnbanned(try node(), reason: "found", by: operatorUser)))
    }

    @Test("a ban survives a restart, and an attestation that was under way does not lift it")
    func durableBan() async throws {
        let directory = TemporaryDirectory()
        let (caller, spare): (NodeCaller, String)
        do {
            let fixture = try await AuthorityFixture(directory: directory)
            caller = try await fixture.join("node-a")
            spare = try await token(fixture)
            try await fixture.authority.ban(node(), reason: "r", by: operatorUser)
        }
        let fixture = try await AuthorityFixture(directory: directory)
        await #expect(throws: Denial.banned(try node())) { try await issue(fixture, caller) }
        // As if the ban had come from another process between the look at the node and the transaction.
        let digest = try #require(JoinToken.digest(of: spare))
        let record = try #require(fixture.authority.nodes.first)
        let issuance = IssuanceRecord(
            serial: "01", id: record.id, podUID: nil, node: record.name, notAfter: fixture.clock.now,
            authority: try signer(fixture), issuedAt: fixture.clock.now)
        let admission = NodeAdmission(tokenDigest: digest, node: record, issuance: issuance)
        #expect(try await fixture.store.admit(admission) == .banned)
        #expect(try await fixture.store.joinToken(digest: digest)?.usedAt == nil)
        #expect(
            try await fixture.store.renew(
                NodeRenewal(node: record.name, presentedSerial: record.serial, issuance: issuance)) == false)
        #expect(try await fixture.store.node(node())?.banned == true)
    }

    @Test("an evicted node is forgotten with its ban and its tokens, and joins again with a new one")
    func evict() async throws {
        let fixture = try await AuthorityFixture()
        let caller = try await fixture.join("node-a")
        let spare = try await token(fixture)
        var stream = try await fixture.authority.bundleUpdates(for: caller).makeAsyncIterator()
        #expect(await stream.next() != nil)
        try await fixture.authority.ban(node(), reason: "r", by: operatorUser)
        try await fixture.authority.evict(node(), reason: "rebuilt", by: operatorUser)
        #expect(await stream.next() == nil)
        #expect(fixture.authority.nodes.isEmpty)
        let unknown = Denial.notAttested(caller.description)
        #expect(unknown.remedy == .attestAgain)
        await #expect(throws: unknown) { try await issue(fixture, caller) }
        await #expect(throws: Denial.tokenUnknown) {
            try await fixture.authority.attestNode(token: spare, csr: request(), source: "test")
        }
        try await issue(fixture, fixture.join("node-a"))
        // Its old SVID is that of a copy now.
        await #expect(throws: Denial.superseded(try node())) { try await issue(fixture, caller) }
        #expect(fixture.audit.all.contains(.nodeEvicted(try node(), reason: "rebuilt", by: operatorUser)))
    }

    @Test("acts upon a node that never attested say so; evicting voids tokens that are out for it")
    func unknown() async throws {
        let fixture = try await AuthorityFixture()
        let unknown = NodeAdminError.unknown(try node())
        await #expect(throws: unknown) { try await fixture.authority.ban(node(), reason: "r", by: operatorUser) }
        await #expect(throws: unknown) { try await fixture.authority.unban(node(), reason: "r", by: operatorUser) }
        await #expect(throws: unknown) { try await fixture.authority.evict(node(), reason: "r", by: operatorUser) }
        let spare = try await token(fixture)
        try await fixture.authority.evict(node(), reason: "r", by: operatorUser)
        await #expect(throws: Denial.tokenUnknown) {
            try await fixture.authority.attestNode(token: spare, csr: request(), source: "test")
        }
    }

    @Test("a reason is cut to its bound, and a node's newest signatures come first")
    func bounds() async throws {
        let fixture = try await AuthorityFixture()
        let caller = try await fixture.join("node-a")
        for _ in 0..<3 {
            fixture.clock.advance(.seconds(1))
            try await issue(fixture, caller)
        }
        try await fixture.join("node-b")
        let signatures = try await fixture.authority.signatures(for: node(), limit: 3)
        #expect(signatures.map(\.podUID) == ["web-uid", "web-uid", "web-uid"])
        #expect(signatures.map(\.issuedAt) == signatures.map(\.issuedAt).sorted(by: >))
        try await fixture.authority.ban(node(), reason: String(repeating: "x", count: 9999), by: operatorUser)
        #expect(fixture.authority.nodes[0].ban?.reason.count == NodeBan.reasonLengthMax)
    }

    // MARK: The log of signatures

    @Test("signatures that come together are recorded together, each before its caller has it")
    func groupCommit() async throws {
        let fixture = try await AuthorityFixture()
        let caller = try await fixture.join("node-a")
        let serials = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    let svid = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: caller)
                    let recorded = try await fixture.store.issuances(limit: 1000).map(\.serial)
                    #expect(recorded.contains(svid.record.serial))
                    return svid.record.serial
                }
            }
            return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(serials.count == 100)
        #expect(try await fixture.store.issuances(limit: 1000).count == 101)
    }

    @Test("one signature that the store refuses costs the others of its batch nothing")
    func badBatch() async throws {
        let fixture = try await AuthorityFixture()
        let log = IssuanceLog(store: fixture.store)
        func record(_ serial: String) throws -> IssuanceRecord {
            IssuanceRecord(
                serial: serial, id: try SPIFFEID("spiffe://culvert.test/ns/a/sa/b"), podUID: nil, node: nil,
                notAfter: fixture.clock.now, authority: try signer(fixture), issuedAt: fixture.clock.now)
        }
        let outcomes = await withTaskGroup(of: Bool.self) { group in
            for index in 0..<60 {
                // Thirty serial numbers, each twice.
                group.addTask { (try? await log.record([record("\(index / 2)")])) != nil }
            }
            return await group.reduce(into: [Bool]()) { $0.append($1) }
        }
        #expect(outcomes.count { $0 } == 30)
        #expect(try await fixture.store.issuances(limit: 100).count == 30)
    }
}
