import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import Authority

@Suite struct PodIssuanceTests {
    @Test("a node gets the identities of live pods on it, and no others")
    func nodeScope() async throws {
        let fixture = try await AuthorityFixture()
        let a = try await fixture.join("node-a")
        let b = try await fixture.join("node-b")
        #expect(
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: a).id.path == "/ns/shop/sa/web"
        )
        #expect(
            try await fixture.authority.issue(podUID: "db-uid", csr: request(), caller: b).id.path == "/ns/shop/sa/db")
        await #expect(throws: Denial.podNotOnNode(uid: "db-uid", node: try NodeName("node-a"))) {
            try await fixture.authority.issue(podUID: "db-uid", csr: request(), caller: a)
        }
        await #expect(throws: Denial.podTerminated(uid: "gone-uid")) {
            try await fixture.authority.issue(podUID: "gone-uid", csr: request(), caller: a)
        }
        await #expect(throws: Denial.podUnknown(uid: "no-such")) {
            try await fixture.authority.issue(podUID: "no-such", csr: request(), caller: a)
        }
    }

    @Test(
        "a pod that is not enrolled gets nothing, by UID or by its identity's name, and its own node alone learns why")
    func excluded() async throws {
        let fixture = try await AuthorityFixture()
        let (a, b) = (try await fixture.join("node-a"), try await fixture.join("node-b"))
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: a)
        fixture.pods.set(
            RegisteredPod(
                uid: "web-uid", node: "node-a", namespace: "shop", serviceAccount: "web", exclusion: "it opts out"))
        let denial = Denial.podExcluded(uid: "web-uid", "it opts out")
        #expect("\(denial)" == "pod web-uid is not enrolled: it opts out")
        #expect(denial.remedy == .retry(after: .milliseconds(500)), "somebody may label it")
        await #expect(throws: denial) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: a)
        }
        #expect(fixture.audit.all.last == .denied(denial, caller: a.description, subject: "pod web-uid"))
        await #expect(throws: denial) {
            try await fixture.authority.issue(
                identity: SPIFFEID("spiffe://culvert.test/ns/shop/sa/web"), csr: request(), lifetime: nil,
                caller: .attested(a))
        }
        await #expect(throws: Denial.podNotOnNode(uid: "web-uid", node: try NodeName("node-b"))) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: b)
        }
    }

    @Test("a pod that moves to another node is issued there and no longer here")
    func movedPod() async throws {
        let fixture = try await AuthorityFixture()
        let (a, b) = (try await fixture.join("node-a"), try await fixture.join("node-b"))
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: a)
        fixture.pods.set(RegisteredPod(uid: "web-uid", node: "node-b", namespace: "shop", serviceAccount: "web"))
        await #expect(throws: Denial.self) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: a)
        }
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: b)
    }

    @Test("who is not an attested node gets nothing")
    func strangers() async throws {
        let fixture = try await AuthorityFixture()
        try await fixture.join("node-a")
        for stranger in [
            "spiffe://culvert.test/culvert/node/node-z", "spiffe://other.test/culvert/node/node-a",
            "spiffe://culvert.test/ns/shop/sa/web", "spiffe://culvert.test/culvert/authority",
        ] {
            await #expect(throws: Denial.notAttested(stranger)) {
                try await fixture.authority.issue(
                    podUID: "web-uid", csr: request(), caller: NodeCaller(stranger: stranger))
            }
        }
    }

    @Test(
        "a pod is never given a name of Culvert's own, or one that is no SPIFFE ID",
        arguments: [
            ("shop", "a/b"), ("..", "web"), ("shop", ""), ("shop", "wéb"), ("culvert/node", "x"), ("shop", "web\u{0}"),
        ])
    func unfitNames(namespace: String, serviceAccount: String) throws {
        let pod = RegisteredPod(uid: "u", node: "n", namespace: namespace, serviceAccount: serviceAccount)
        #expect(throws: Denial.self) {
            try IssuanceDecision.identity(
                forPod: "u", registered: pod, on: NodeName("n"), in: AuthorityFixture.trustDomain)
        }
    }

    @Test(
        "what lies under /culvert is reserved",
        arguments: [
            ("/culvert", true), ("/culvert/node/a", true), ("/culvert/authority", true), ("/culverts", false),
            ("/ns/culvert/sa/x", false),
        ])
    func reserved(path: String, expected: Bool) throws {
        let id = try SPIFFEID(trustDomain: AuthorityFixture.trustDomain, path: path)
        #expect(ReservedIdentity.contains(id) == expected)
    }

    @Test("names are compared byte by byte: a canonically equivalent spelling is another node")
    func canonicalEquivalence() throws {
        // é as one scalar and as two: equal as Swift strings, different as bytes.
        let pod = RegisteredPod(uid: "caf\u{e9}", node: "node-a", namespace: "shop", serviceAccount: "web")
        #expect(throws: Denial.self) {
            try IssuanceDecision.identity(
                forPod: "cafe\u{301}", registered: pod, on: NodeName("node-a"), in: AuthorityFixture.trustDomain)
        }
    }

    @Test("a node that asks too fast is told when to come back")
    func rateLimit() async throws {
        var limits = AuthorityLimits()
        limits.nodeBurst = 3
        limits.nodeSignaturesPerSecond = 2
        let fixture = try await AuthorityFixture(limits: limits)
        let node = try await fixture.join("node-a")
        for _ in 0..<3 { _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node) }
        await #expect(throws: Denial.rateLimited(retryAfter: .milliseconds(500))) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
        fixture.clock.advance(.milliseconds(500))
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
    }

    @Test("a node holds a bounded number of different identities")
    func identityLimit() async throws {
        var limits = AuthorityLimits()
        limits.identitiesPerNode = 2
        let pods = (0..<3).map {
            RegisteredPod(uid: "pod-\($0)", node: "node-a", namespace: "shop", serviceAccount: "sa-\($0)")
        }
        let fixture = try await AuthorityFixture(pods: PodTable(pods), limits: limits)
        let node = try await fixture.join("node-a")
        for uid in ["pod-0", "pod-1", "pod-0"] {
            _ = try await fixture.authority.issue(podUID: uid, csr: request(), caller: node)
        }
        await #expect(throws: Denial.tooManyIdentities(limit: 2, retryAfter: .seconds(60))) {
            try await fixture.authority.issue(podUID: "pod-2", csr: request(), caller: node)
        }
        fixture.clock.advance(.seconds(3601))
        _ = try await fixture.authority.issue(podUID: "pod-2", csr: request(), caller: node)
    }

    @Test("every signature and every denial is in the audit trail")
    func auditTrail() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let svid = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        _ = try? await fixture.authority.issue(podUID: "db-uid", csr: request(), caller: node)
        let events = fixture.audit.all
        #expect(events.contains(.signed(svid.record, clampedFrom: nil)))
        #expect(
            events.contains(
                .denied(
                    .podNotOnNode(uid: "db-uid", node: try NodeName("node-a")), caller: node.description,
                    subject: "pod db-uid")))
        #expect(try await fixture.store.issuances(limit: 1) == [svid.record])
        #expect(fixture.authority.status().signed == 2)
    }

    @Test("many requests at once are all answered, with serial numbers of their own")
    func concurrency() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let csr = try request()
        let serials = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    try await fixture.authority.issue(podUID: "web-uid", csr: csr, caller: node).record.serial
                }
            }
            return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(serials.count == 200)
    }
}
