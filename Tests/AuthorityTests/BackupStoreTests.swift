import DatabaseKit
import FoundationEssentials
import Testing

@testable import Authority

@Suite("A backup of either kind of store") struct BackupStoreTests {
    /// Everything that a store has.
    private struct Content: Equatable {
        let authorities: StoredAuthorities
        let rotation: StoredRotation
        let history: [RotationRecord]
        let nodes: [NodeRecord]
        let issuances: [IssuanceRecord]
        let tokens: [JoinTokenRecord?]

        init(_ store: any AuthorityStore & RotationJournal, tokens: [JoinToken]) async throws {
            authorities = try await store.authorities()
            rotation = try await store.rotation()
            history = try await store.history(limit: 1000)
            nodes = try await store.nodes()
            issuances = try await store.issuances(limit: 1_000_000)
            var records: [JoinTokenRecord?] = []
            for token in tokens { records.append(try await store.joinToken(digest: token.digest)) }
            self.tokens = records
        }
    }

    /// An authority with all that there can be in a store of it.
    private struct Fixture {
        let home = TemporaryDirectory()
        let clock = TestClock()
        let place: StorePlace
        let store: any AuthorityStore & RotationJournal
        let authority: CertificateAuthority
        let node: NodeCaller
        let tokens: [JoinToken]

        init(_ kind: StoreKind) async throws {
            place = kind == .sqlite ? .file(home) : try StorePlace(kind)
            let seal = try SealingKeyFile.create("\(home.path)/authority.key", random: systemRandomBytes)
            store = try await place.open()
            authority = try await CertificateAuthority.open(
                .init(trustDomain: AuthorityFixture.trustDomain), store: store, seal: seal, pods: PodTable(),
                clock: clock.read)
            var tokens: [JoinToken] = []
            for name in ["node-a", "node-b", "node-c"] {
                tokens.append(try await authority.createJoinToken(node: NodeName(name)).token)
            }
            self.tokens = tokens
            node = NodeCaller(
                try await authority.attestNode(token: tokens[0].text, csr: try request(), source: "test"))
            _ = try await authority.attestNode(token: tokens[1].text, csr: try request(), source: "test")
            _ = try await authority.issue(podUID: "web-uid", csr: request(), caller: node)
            try await authority.acknowledge(
                sequence: 1, version: "test",
                leaves: [.init(authority: authority.status().authorities[1].id, count: 1, oldestExpiry: 7)],
                caller: node)
            try await authority.ban(
                NodeName("node-b"), reason: "stolen", by: AdminCaller(uid: 0, pid: 1))
            _ = try await authority.rotate(.prepare)
        }

        var database: PostgreSQLAuthorityStore? { store as? PostgreSQLAuthorityStore }
    }

    @Test(
        "fills a store of either kind with all that there was, and the authority there goes on",
        arguments: StoreKind.allCases, StoreKind.allCases)
    func between(_ from: StoreKind, _ to: StoreKind) async throws {
        let fixture = try await Fixture(from)
        let first = try #require(try await fixture.store.issuances(limit: 1).first)
        // More than is handled at once.
        try await fixture.store.record(
            (0..<11_000).map { number in
                IssuanceRecord(
                    serial: "5e\(number)", id: first.id, podUID: nil, node: nil, notAfter: first.notAfter,
                    authority: first.authority, issuedAt: first.issuedAt)
            })
        let backup = try await AuthorityBackup.copy(
            of: fixture.home.path, in: fixture.database, now: fixture.clock.now)
        #expect(backup.summary.nodes == 2 && backup.summary.bundleSequence == 2)
        let opened = try AuthorityBackup(content: try backup.content())
        let home = TemporaryDirectory()
        let place = to == .sqlite ? StorePlace.file(home) : try StorePlace(to)
        if case .database = place {
            let database = try #require(try await place.open() as? PostgreSQLAuthorityStore)
            try await opened.restore(to: home.path, filling: database)
        } else {
            try await opened.restore(to: home.path)
        }
        let store = try await place.open()
        #expect(
            try await Content(store, tokens: fixture.tokens) == Content(fixture.store, tokens: fixture.tokens))
        let authority = try await CertificateAuthority.open(
            .init(trustDomain: AuthorityFixture.trustDomain), store: store,
            seal: SealingKeyFile.read("\(home.path)/authority.key"), pods: PodTable(), clock: fixture.clock.read)
        #expect(authority.bundle.current == fixture.authority.bundle.current)
        _ = try await authority.issue(podUID: "web-uid", csr: request(), caller: fixture.node)
        #expect(try await store.issuances(limit: 1_000_000).count == 11_004)
        _ = try await authority.attestNode(token: fixture.tokens[2].text, csr: request(), source: "test")
    }

    @Test("is never put into a database that holds an authority, nor beside another authority's key")
    func refused() async throws {
        let fixture = try await Fixture(.sqlite)
        let backup = try await AuthorityBackup.copy(of: fixture.home.path, now: fixture.clock.now)
        let other = try await Fixture(.postgresql)
        let database = try #require(other.database)
        let before = try await Content(database, tokens: other.tokens)
        let empty = TemporaryDirectory()
        await #expect(throws: BackupError.storeNotEmpty(database.path)) {
            try await backup.restore(to: empty.path, filling: database)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: empty.path).isEmpty)
        #expect(try await Content(database, tokens: other.tokens) == before)
        let fresh = try TestDatabase()
        let unfilled = try await PostgreSQLAuthorityStore.open(fresh.address)
        let key = "\(other.home.path)/authority.key"
        await #expect(throws: BackupError.otherKey(key)) {
            try await backup.restore(to: other.home.path, filling: unfilled)
        }
        #expect(try await unfilled.authorities().records.isEmpty)
        await #expect(throws: BackupError.noStore(unfilled.path)) {
            try await AuthorityBackup.copy(of: other.home.path, in: unfilled, now: other.clock.now)
        }
        // Where the key is there already, as on each replica, it stays.
        try await backup.restore(to: fixture.home.path, filling: unfilled)
        #expect(try await unfilled.authorities() == fixture.store.authorities())
    }

    @Test("is made only of tables that this culvert knows")
    func schema() async throws {
        let database = try TestDatabase()
        let without = await #expect(throws: StoreError.self) {
            try await PostgreSQLAuthorityStore.existing(database.address)
        }
        #expect(without?.description.contains("it has no tables of culvert") == true)
        _ = try await PostgreSQLAuthorityStore.open(database.address)
        _ = try await PostgreSQLAuthorityStore.existing(database.address)
        try database.execute("INSERT INTO migrations VALUES ('99 from the future')")
        await #expect(throws: StoreError.newerSchema(path: database.address.description)) {
            try await PostgreSQLAuthorityStore.existing(database.address)
        }
    }
}
