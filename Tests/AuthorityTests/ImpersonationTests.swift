import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import Authority

/// Asking by the identity's name, as Istio's proxies do.
@Suite struct ImpersonationTests {
    private func issue(
        _ fixture: AuthorityFixture, _ identity: String, _ caller: IssuanceCaller, csr: [UInt8]? = nil,
        lifetime: Duration? = nil
    ) async throws -> IssuedSVID {
        try await fixture.authority.issue(
            identity: SPIFFEID(identity), csr: csr ?? request(), lifetime: lifetime, caller: caller)
    }

    @Test("a node gets by name what a live pod on it has, whichever way it proved who it is")
    func granted() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        for caller in [IssuanceCaller.attested(node), .bearer(try NodeName("node-a"))] {
            let svid = try await issue(fixture, "spiffe://culvert.test/ns/shop/sa/web", caller)
            #expect(svid.id.path == "/ns/shop/sa/web")
            #expect(svid.record.podUID == "web-uid")
            #expect(svid.record.node == (try NodeName("node-a")))
        }
    }

    @Test(
        "what is not a live pod's of that node is refused, and an unknown pod may be asked for again",
        arguments: [
            ("another node's pod", "spiffe://culvert.test/ns/shop/sa/db", true),
            ("an unknown account", "spiffe://culvert.test/ns/shop/sa/nobody", true),
            ("an unknown namespace", "spiffe://culvert.test/ns/nowhere/sa/web", true),
            ("a foreign trust domain", "spiffe://other.test/ns/shop/sa/web", false),
            ("no workload", "spiffe://culvert.test/shop/web", false),
            ("the trust domain itself", "spiffe://culvert.test", false),
            ("a node", "spiffe://culvert.test/culvert/node/node-a", false),
            ("the authority", "spiffe://culvert.test/culvert/authority", false),
        ])
    func refused(_: String, identity: String, mayBeAskedAgain: Bool) async throws {
        let fixture = try await AuthorityFixture()
        let caller = IssuanceCaller.attested(try await fixture.join("node-a"))
        let signed = fixture.authority.status().signed
        let denial = await #expect(throws: Denial.self) { try await issue(fixture, identity, caller) }
        if case .retry? = denial?.remedy { #expect(mayBeAskedAgain) } else { #expect(!mayBeAskedAgain) }
        #expect(fixture.authority.status().signed == signed)
        #expect(
            fixture.audit.all.contains {
                if case .denied(_, _, identity) = $0 { true } else { false }
            })
    }

    @Test("a node that has only ever shown tokens gets its pods' identities, and the audit trail names it")
    func tokensOnly() async throws {
        let fixture = try await AuthorityFixture()
        let svid = try await issue(
            fixture, "spiffe://culvert.test/ns/shop/sa/web", .bearer(try NodeName("node-a")))
        #expect(fixture.audit.all.contains(.signed(svid.record, clampedFrom: nil)))
        #expect(svid.record.node == (try NodeName("node-a")))
        #expect(try await fixture.store.issuances(for: NodeName("node-a"), limit: 1) == [svid.record])
        // Nothing waits for it: no rotation, and no warning.
        let node = try #require(fixture.authority.nodes.first)
        #expect(!node.hasAttested && node.serial.isEmpty && node.expiresAt <= fixture.clock.now)
    }

    @Test(
        "it is banned by the name that its token gives, across a restart, and goes on when it is unbanned; evicted, its tokens are void"
    )
    func bannedBearer() async throws {
        let directory = TemporaryDirectory()
        let (name, caller) = (try NodeName("node-a"), AdminCaller(uid: 0, pid: 1))
        let web = "spiffe://culvert.test/ns/shop/sa/web"
        do {
            let fixture = try await AuthorityFixture(directory: directory)
            await #expect(throws: NodeAdminError.unknown(name)) {
                try await fixture.authority.ban(name, reason: "stolen", by: caller)
            }
            _ = try await issue(fixture, web, .bearer(name))
            try await fixture.authority.ban(name, reason: "stolen", by: caller)
            await #expect(throws: Denial.banned(name)) { try await issue(fixture, web, .bearer(name)) }
        }
        let fixture = try await AuthorityFixture(directory: directory)
        await #expect(throws: Denial.banned(name)) { try await issue(fixture, web, .bearer(name)) }
        // As if the ban had come from another process a moment ago, which this one has not heard of.
        let unheard = IssuanceRecord(
            serial: "01", id: try SPIFFEID(web), podUID: "web-uid", node: name, notAfter: fixture.clock.now,
            authority: try #require(
                fixture.authority.status().authorities.first { $0.kind == .intermediate && $0.state == .active }?.id),
            issuedAt: fixture.clock.now)
        await #expect(throws: StoreError.superseded) { try await fixture.store.record([unheard]) }
        try await fixture.authority.unban(name, reason: "found", by: caller)
        _ = try await issue(fixture, web, .bearer(name))
        let token = try await fixture.authority.createJoinToken(node: name).token.text
        try await fixture.authority.evict(name, reason: "sold", by: caller)
        await #expect(throws: Denial.tokenUnknown) {
            try await fixture.authority.node(bearing: token, source: "ipv4:1")
        }
    }

    @Test("a node that shows tokens and then attests is one node; an SVID from before it was forgotten is no clone's")
    func attestsLater() async throws {
        let fixture = try await AuthorityFixture()
        let web = "spiffe://culvert.test/ns/shop/sa/web"
        let name = try NodeName("node-a")
        let before = try await fixture.join("node-a")
        try await fixture.authority.evict(name, reason: "rebuilt", by: AdminCaller(uid: 0, pid: 1))
        _ = try await issue(fixture, web, .bearer(name))
        await #expect(throws: Denial.notAttested(before.description)) {
            try await issue(fixture, web, .attested(before))
        }
        #expect(fixture.authority.nodes.map(\.cloneSeenAt) == [nil])
        let after = try await fixture.join("node-a")
        _ = try await issue(fixture, web, .attested(after))
        _ = try await issue(fixture, web, .bearer(name))
        #expect(fixture.authority.nodes.map(\.serial) == [after.serial])
    }

    @Test("a pod that has ended or moved away takes its identity along")
    func gone() async throws {
        let fixture = try await AuthorityFixture()
        let caller = IssuanceCaller.attested(try await fixture.join("node-a"))
        let web = "spiffe://culvert.test/ns/shop/sa/web"
        _ = try await issue(fixture, web, caller)
        fixture.pods.set(RegisteredPod(uid: "web-uid", node: "node-b", namespace: "shop", serviceAccount: "web"))
        await #expect(throws: Denial.self) { try await issue(fixture, web, caller) }
        fixture.pods.set(
            RegisteredPod(uid: "web-uid", node: "node-a", namespace: "shop", serviceAccount: "web", live: false))
        await #expect(throws: Denial.self) { try await issue(fixture, web, caller) }
    }

    @Test("strangers and banned nodes get nothing")
    func strangers() async throws {
        let fixture = try await AuthorityFixture()
        let stranger = try SPIFFEID("spiffe://culvert.test/culvert/node/node-z")
        await #expect(throws: Denial.notAttested(stranger.description)) {
            try await issue(
                fixture, "spiffe://culvert.test/ns/shop/sa/web", .attested(NodeCaller(id: stranger, serial: "00")))
        }
        let pod = try SPIFFEID("spiffe://culvert.test/ns/shop/sa/web")
        await #expect(throws: Denial.notAttested(pod.description)) {
            try await issue(fixture, pod.description, .attested(NodeCaller(id: pod, serial: "00")))
        }
    }

    @Test("the lifetime asked for is cut to the configured one, and the audit trail shows both")
    func lifetime() async throws {
        let fixture = try await AuthorityFixture()
        let caller = IssuanceCaller.attested(try await fixture.join("node-a"))
        let web = "spiffe://culvert.test/ns/shop/sa/web"
        let now = fixture.clock.now
        let day = try await issue(fixture, web, caller, lifetime: .seconds(86400))
        #expect(day.notAfter == now.addingTimeInterval(3600))
        #expect(
            fixture.audit.all.contains(.signed(day.record, clampedFrom: now.addingTimeInterval(86400))))
        let short = try await issue(fixture, web, caller, lifetime: .seconds(600))
        #expect(short.notAfter == now.addingTimeInterval(600))
        #expect(fixture.audit.all.contains(.signed(short.record, clampedFrom: nil)))
        let own = try await issue(fixture, web, caller)
        #expect(own.notAfter == now.addingTimeInterval(3600))
    }

    @Test("of the request only the key is taken, and an unfit one is refused")
    func requests() async throws {
        let fixture = try await AuthorityFixture()
        let caller = IssuanceCaller.attested(try await fixture.join("node-a"))
        let web = "spiffe://culvert.test/ns/shop/sa/web"
        let names = SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://culvert.test/ns/shop/sa/db")])
        let asked = try Certificate.Extensions { names }
        let svid = try await issue(fixture, web, caller, csr: request(extensions: asked))
        #expect(try svid.certificates[0].spiffeID().description == web)
        for csr in [[], [0x30, 0x00], Array(repeating: 0x30, count: SigningRequestPolicy.sizeMax + 1)] as [[UInt8]] {
            await #expect(throws: Denial.self) { try await issue(fixture, web, caller, csr: csr) }
        }
    }

    @Test("a join token speaks for its node until it has expired or was traded for the node's own SVID")
    func bearer() async throws {
        let fixture = try await AuthorityFixture()
        let (authority, clock) = (fixture.authority, fixture.clock)
        let token = try await authority.createJoinToken(node: NodeName("node-a")).token.text
        for _ in 0..<3 {
            #expect(try await authority.node(bearing: token, source: "ipv4:1") == (try NodeName("node-a")))
        }
        _ = try await authority.attestNode(token: token, csr: request(), source: "ipv4:1")
        await #expect(throws: Denial.tokenUsed) { try await authority.node(bearing: token, source: "ipv4:1") }
        let other = try await authority.createJoinToken(node: NodeName("node-a")).token.text
        clock.advance(.seconds(601))
        await #expect(throws: Denial.tokenExpired) { try await authority.node(bearing: other, source: "ipv4:1") }
        for stranger in ["", "cvt-", "cvt-\(String(repeating: "0", count: 64))", "eyJhbGciOi"] {
            await #expect(throws: Denial.tokenUnknown) {
                try await authority.node(bearing: stranger, source: "ipv4:1")
            }
        }
    }

    @Test("who guesses tokens is soon told to wait, and good tokens are not counted")
    func guesses() async throws {
        var limits = AuthorityLimits()
        limits.attestationBurst = 3
        let fixture = try await AuthorityFixture(limits: limits)
        let authority = fixture.authority
        let token = try await authority.createJoinToken(node: NodeName("node-a")).token.text
        for _ in 0..<10 { _ = try await authority.node(bearing: token, source: "ipv4:1") }
        for _ in 0..<3 {
            await #expect(throws: Denial.tokenUnknown) { try await authority.node(bearing: "x", source: "ipv4:1") }
        }
        let denial = await #expect(throws: Denial.self) { try await authority.node(bearing: "x", source: "ipv4:1") }
        guard case .rateLimited? = denial else {
            Issue.record("\(String(describing: denial))")
            return
        }
        #expect(try await authority.node(bearing: token, source: "ipv4:2") == (try NodeName("node-a")))
    }
}
