import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import Authority

@Suite("Several SVIDs in one call") struct BatchIssuanceTests {
    private static func pods(_ count: Int, on node: String = "node-a") -> [RegisteredPod] {
        (0..<count).map {
            RegisteredPod(uid: "\(node)-\($0)", node: node, namespace: "shop", serviceAccount: "sa-\($0)")
        }
    }

    private static func requests(
        _ uids: [String], _ urgency: (Int) -> IssuanceUrgency = { _ in .firstUse }
    ) throws -> [PodRequest] {
        try uids.enumerated().map { PodRequest(podUID: $1, csr: try request(), urgency: urgency($0)) }
    }

    private func denials(_ outcomes: [Result<IssuedSVID, Denial>]) -> [Denial?] {
        outcomes.map { outcome in
            guard case .failure(let denial) = outcome else { return nil }
            return denial
        }
    }

    @Test("each has an outcome of its own, in the order of the requests, a record and a line in the audit trail")
    func outcomes() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let (before, lines) = (try await fixture.store.issuances(limit: 100).count, fixture.audit.all.count)
        var asked = try Self.requests(["web-uid", "db-uid", "gone-uid", "no-such", "web-uid", "web-uid"])
        asked[4] = PodRequest(podUID: "web-uid", csr: [1, 2, 3], urgency: .firstUse)
        let outcomes = await fixture.authority.issue(asked, caller: node)
        let denials = denials(outcomes)
        #expect(denials[0] == nil && denials[5] == nil)
        #expect(denials[1] == .podNotOnNode(uid: "db-uid", node: try NodeName("node-a")))
        #expect(denials[2] == .podTerminated(uid: "gone-uid"))
        #expect(denials[3] == .podUnknown(uid: "no-such"))
        guard case .requestRefused(.malformed)? = denials[4] else {
            Issue.record("\(String(describing: denials[4]))")
            return
        }
        for index in [0, 5] {
            let leaf = try outcomes[index].get().certificates[0]
            #expect(try leaf.spiffeID().path == "/ns/shop/sa/web")
            let csr = try CertificateSigningRequest(derEncoded: asked[index].csr)
            #expect(leaf.publicKey == csr.publicKey)
        }
        #expect(try await fixture.store.issuances(limit: 100).count == before + 2)
        let said = fixture.audit.all.dropFirst(lines)
        #expect(said.count { if case .signed = $0 { true } else { false } } == 2)
        #expect(said.count { if case .denied = $0 { true } else { false } } == 4)
        #expect(await fixture.authority.issue([], caller: node).isEmpty)
    }

    @Test("more than are signed in one turn, of every urgency, all get what they asked for")
    func turns() async throws {
        let count = 3 * CertificateAuthority.turnMax + 5
        let pods = Self.pods(count)
        let fixture = try await AuthorityFixture(pods: PodTable(pods))
        let node = try await fixture.join("node-a")
        let asked = try Self.requests(pods.map(\.uid)) { IssuanceUrgency.allCases[$0 % 3] }
        let outcomes = await fixture.authority.issue(asked, caller: node)
        for (pod, outcome) in zip(pods, outcomes) {
            #expect(try outcome.get().id.path == "/ns/shop/sa/\(pod.serviceAccount)")
        }
        #expect(Set(try outcomes.map { try $0.get().record.serial }).count == count)
    }

    @Test("each counts towards the node's allowance, and what connections wait for goes first")
    func allowance() async throws {
        var limits = AuthorityLimits()
        limits.nodeBurst = 3
        limits.nodeSignaturesPerSecond = 2
        let pods = Self.pods(6)
        let fixture = try await AuthorityFixture(pods: PodTable(pods), limits: limits)
        let node = try await fixture.join("node-a")
        let asked = try Self.requests(pods.map(\.uid)) { [.background, .renewal, .firstUse][$0 % 3] }
        let denials = denials(await fixture.authority.issue(asked, caller: node))
        let refused = Denial.rateLimited(retryAfter: .milliseconds(500))
        #expect(denials == [refused, nil, nil, refused, refused, nil])
        // Nothing left: all of them hear when to come back.
        #expect(self.denials(await fixture.authority.issue(asked, caller: node)).allSatisfy { $0 == refused })
    }

    @Test("who is not an attested node gets nothing, for each of them")
    func strangers() async throws {
        let fixture = try await AuthorityFixture()
        let stranger = try NodeCaller(stranger: "spiffe://culvert.test/culvert/node/node-z")
        let outcomes = await fixture.authority.issue(try Self.requests(["web-uid", "web-uid"]), caller: stranger)
        #expect(denials(outcomes).allSatisfy { $0 == .notAttested("spiffe://culvert.test/culvert/node/node-z") })
        #expect(outcomes.count == 2)
    }

    @Test("nothing is released that the store did not take, and all of it is when it takes again")
    func storeThatRefuses() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let before = try await fixture.store.issuances(limit: 100).count
        try fixture.store.execute(onEveryConnection: "PRAGMA query_only = ON")
        let lines = fixture.audit.all.count
        let refused = await fixture.authority.issue(try Self.requests(["web-uid", "web-uid"]), caller: node)
        for denial in denials(refused) {
            guard case .notReady? = denial else {
                Issue.record("\(String(describing: denial))")
                continue
            }
        }
        #expect(!fixture.audit.all.dropFirst(lines).contains { if case .signed = $0 { true } else { false } })
        try fixture.store.execute(onEveryConnection: "PRAGMA query_only = OFF")
        #expect(try await fixture.store.issuances(limit: 100).count == before)
        let issued = await fixture.authority.issue(try Self.requests(["web-uid", "web-uid"]), caller: node)
        #expect(denials(issued).allSatisfy { $0 == nil })
    }

    @Test("what was signed by an authority that has been replaced is signed again by its successor")
    func replacedSigner() async throws {
        // Another process replaces the signer in the store; this one still holds the old one.
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let stored = try await fixture.store.authorities()
        let old = try #require(stored.records.first { $0.kind == .intermediate && $0.state == .active })
        try fixture.store.execute(
            onEveryConnection: "UPDATE authorities SET state = 'old' WHERE id = '\(old.id)'")
        let denied = await fixture.authority.issue(try Self.requests(["web-uid", "web-uid"]), caller: node)
        #expect(denials(denied).allSatisfy { if case .notReady? = $0 { true } else { false } })
        try fixture.store.execute(
            onEveryConnection: "UPDATE authorities SET state = 'active' WHERE id = '\(old.id)'")
        let issued = await fixture.authority.issue(try Self.requests(["web-uid", "web-uid"]), caller: node)
        #expect(denials(issued).allSatisfy { $0 == nil })
    }
}
