import DatabaseKit
import FoundationEssentials
import PostgreSQL
import SPIFFE
import Testing
import X509

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

/// Authorities on one database, as several processes would be, and pods on node-a.
struct ReplicaFixture {
    let database: TestDatabase
    let clock = TestClock(RotationRig.start)
    static let seal = KeySeal(key: [UInt8](repeating: 9, count: KeySeal.keySize))

    init(on server: TestDatabaseServer? = nil) throws { database = try TestDatabase(on: server) }

    func replica(seal: KeySeal = Self.seal) async throws -> CertificateAuthority {
        var configuration = CertificateAuthority.Configuration(trustDomain: AuthorityFixture.trustDomain)
        configuration.lifetimes = RotationRig.lifetimes
        return try await CertificateAuthority.open(
            configuration, store: PostgreSQLAuthorityStore.open(database.address), seal: seal, pods: PodTable(),
            clock: clock.read)
    }

    func join(_ authority: CertificateAuthority) async throws -> NodeCaller {
        let token = try await authority.createJoinToken(node: NodeName("node-a")).token
        return NodeCaller(
            try await authority.attestNode(token: token.text, csr: try request(), source: "test"))
    }

    func issue(_ authority: CertificateAuthority, _ node: NodeCaller) async throws -> IssuedSVID {
        try await authority.issue(podUID: "web-uid", csr: request(), caller: node)
    }

    /// The node has `authority`'s bundle, and no leaf.
    func report(_ authority: CertificateAuthority, _ node: NodeCaller) async throws {
        try await authority.acknowledge(
            sequence: authority.bundle.current.sequence, version: "test", leaves: [], caller: node)
    }

    func verifies(_ svid: IssuedSVID, by authority: CertificateAuthority) -> Bool {
        let verifier = PeerVerifier(bundles: TrustBundleSet([authority.bundle.current]))
        let verdict = verifier.verify(chainDER: svid.certificates.map { $0.der() }, role: .client, now: clock.now)
        if case .verified = verdict { return true }
        return false
    }
}

@Suite struct ReplicaTests {
    @Test("authorities that start at once on an empty database are one: same root, same intermediate, same bundle")
    func firstStart() async throws {
        let fixture = try ReplicaFixture()
        let replicas = try await withThrowingTaskGroup { group in
            for _ in 0..<4 { group.addTask { try await fixture.replica() } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let first = replicas[0].status()
        #expect(first.authorities.map(\.kind) == [.root, .intermediate])
        for replica in replicas {
            #expect(replica.status().authorities == first.authorities)
            #expect(replica.bundle.current == replicas[0].bundle.current)
        }
        let node = try await fixture.join(replicas[0])
        let svid = try await fixture.issue(replicas[0], node)
        #expect(fixture.verifies(svid, by: replicas[3]))
    }

    @Test("an authority with another sealing key does not start, and leaves everything as it is")
    func otherKey() async throws {
        let fixture = try ReplicaFixture()
        let first = try await fixture.replica()
        let other = KeySeal(key: [UInt8](repeating: 1, count: KeySeal.keySize))
        let error = await #expect(throws: AuthorityError.self) { try await fixture.replica(seal: other) }
        #expect(error == .seal(.wrongKey))
        #expect(try await first.store.authorities().records == first.status().authorities)
    }

    @Test("a token is good once, whichever authority it was made by and is shown to")
    func token() async throws {
        let fixture = try ReplicaFixture()
        let (one, two) = (try await fixture.replica(), try await fixture.replica())
        let token = try await one.createJoinToken(node: NodeName("node-a")).token
        _ = try await two.attestNode(token: token.text, csr: request(), source: "test")
        let denial = await #expect(throws: Denial.self) {
            try await one.attestNode(token: token.text, csr: request(), source: "test")
        }
        #expect(denial == .tokenUsed)
    }

    /// P8: what is tainted signs nothing, even where nobody has heard of it.
    @Test(
        "an authority that has heard of nothing publishes the new bundle and signs with the new authority, never with the old one"
    )
    func fence() async throws {
        let fixture = try ReplicaFixture()
        let one = try await fixture.replica()
        let node = try await fixture.join(one)
        let two = try await fixture.replica()
        let before = try await fixture.issue(two, node)
        #expect(before.record.authority == (try await fixture.issue(one, node)).record.authority)
        #expect(try await one.rotate(.rotate).refusal == nil)
        try await fixture.report(one, node)
        _ = try await one.rotate(.resume)
        let states = one.status().rotation.authorities.map(\.state)
        #expect(states == [.tainted, .active])
        // The second one still holds the old authority's key, and would sign with it.
        #expect(two.status().rotation.authorities.map(\.state) == [.active])
        #expect(two.bundle.current.sequence == 1)
        let svid = try await fixture.issue(two, node)
        #expect(svid.record.authority != before.record.authority)
        #expect(two.bundle.current == one.bundle.current)
        #expect(two.bundle.tainted == one.bundle.tainted)
        #expect(fixture.verifies(svid, by: one))
        // What was signed for nothing is in no log.
        let logged = try await two.store.issuances(limit: 100).filter { $0.issuedAt >= svid.record.issuedAt }
        #expect(logged.contains(svid.record))
    }

    @Test(
        "a rotation whose leader ends in the middle is taken to its end by another, and both are at the same bundle",
        .timeLimit(.minutes(2)))
    func takeover() async throws {
        let fixture = try ReplicaFixture()
        let one = try await fixture.replica()
        let node = try await fixture.join(one)
        let two = try await fixture.replica()
        let first = Self.run(one)
        await until { one.store.leads }
        let second = Self.run(two)
        _ = try await one.rotate(.rotateInEmergency(reason("a tape is lost")))
        #expect(one.status().rotation.authorities.map(\.state) == [.active, .prepared])
        // The follower is told, and takes no step.
        await until { two.bundle.current.sequence == 2 }
        #expect(!two.store.leads)
        first.cancel()
        await first.value
        await until { two.store.leads }
        // Its node gets to know the bundle there, and issues anew there.
        fixture.clock.advance(.seconds(5))
        try await fixture.report(two, node)
        await until { two.status().rotation.tainted.count == 1 }
        fixture.clock.advance(.seconds(5))
        let svid = try await fixture.issue(two, node)
        try await fixture.report(two, node)
        await until { two.status().rotation.rotation == nil }
        #expect(two.status().rotation.authorities.map(\.state) == [.revoked, .active])
        #expect(fixture.verifies(svid, by: two))
        // The first comes back to life, and follows.
        let again = Self.run(one)
        await until { one.bundle.current == two.bundle.current }
        #expect(try await fixture.issue(one, node).record.authority == svid.record.authority)
        again.cancel()
        second.cancel()
        await again.value
        await second.value
    }

    @Test(
        "an authority that follows says what the next step waits for, and for whom, as the one that leads does",
        .timeLimit(.minutes(2)))
    func waits() async throws {
        let fixture = try ReplicaFixture()
        let one = try await fixture.replica()
        _ = try await fixture.join(one)
        let two = try await fixture.replica()
        let first = Self.run(one)
        await until { one.store.leads }
        let second = Self.run(two)
        #expect(try await one.rotate(.rotate).refusal == nil)
        await until { one.status().waiting != nil }
        await until { two.bundle.current.sequence == 2 }
        let (led, followed) = (one.status(), two.status())
        #expect(followed.waiting == led.waiting)
        #expect(followed.waiting?.nodes == [try NodeName("node-a")])
        #expect(!led.follows && followed.follows)
        first.cancel()
        second.cancel()
        await first.value
        await second.value
    }

    @Test("a store that is older than what has been published is not followed")
    func olderStore() async throws {
        let fixture = try ReplicaFixture()
        let one = try await fixture.replica()
        _ = try await fixture.join(one)
        _ = try await one.rotate(.prepare)
        #expect(one.bundle.current.sequence == 2)
        // As a backup from before would have it.
        try fixture.database.execute(
            """
            DELETE FROM rotation_journal WHERE position > 3; UPDATE bundle SET sequence = 1;
            DELETE FROM authorities WHERE state = 'prepared'
            """)
        let error = await #expect(throws: AuthorityError.self) { try await one.reload() }
        #expect(error == .journal("bundle 2 has been published, and the store is at 1"))
        #expect(one.bundle.current.sequence == 2)
    }

    @Test(
        "whichever step a process is killed before or after, another takes the rotation to its end",
        arguments: 1...9)
    func killed(write: Int) async throws {
        for kind in [JournalFault.Kind.killedBefore, .killedAfter] {
            let database = try TestDatabase()
            setenv(ReplicaChild.variable, "\(database.url) \(write) \(kind == .killedBefore ? "before" : "after")", 1)
            await #expect(processExitsWith: .signal(SIGKILL)) { try await ReplicaChild.run() }
            unsetenv(ReplicaChild.variable)
            var rig = RotationRig(
                try await PostgreSQLAuthorityStore.open(database.address), seal: ReplicaFixture.seal)
            try await RotationJournalTests.resume(&rig, write: write, done: kind == .killedAfter)
        }
    }

    /// As a process does it.
    private static func run(_ authority: CertificateAuthority) -> Task<Void, Never> {
        Task {
            await withTaskGroup { group in
                group.addTask { await authority.keepUp { _ in } }
                group.addTask { await authority.keepMaintained { _ in } }
            }
        }
    }

    private func until(_ condition: () -> Bool) async {
        while !condition() { try? await Task.sleep(for: .milliseconds(10)) }
    }
}

/// What the killed process does.
enum ReplicaChild {
    static let variable = "CULVERT_REPLICA_CHILD"

    static func run() async throws {
        let words = String(cString: getenv(variable)).split(separator: " ")
        let fault = JournalFault(write: Int(words[1])!, kind: words[2] == "before" ? .killedBefore : .killedAfter)
        let store = try await PostgreSQLAuthorityStore.open(PostgreSQLAddress(String(words[0])))
        var rig = RotationRig(store, seal: ReplicaFixture.seal, fault: fault)
        try await RotationJournalTests.rotateOnce(&rig)
    }
}
