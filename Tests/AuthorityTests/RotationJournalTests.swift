import Crypto
import FoundationEssentials
import SPIFFE
import Synchronization
import Testing
import X509

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

/// A rotation on a real store, with one node that does what it is told.
struct RotationRig {
    static let lifetimes = AuthorityLifetimes(
        root: .seconds(36 * 600), intermediate: .seconds(6 * 600), leaf: .seconds(600))
    static let start = Date(unixSeconds: 1_767_225_600)

    let store: any AuthorityStore & RotationJournal
    let keeper: RotationKeeper
    var now = start
    /// What has been seen outside.
    var published: UInt64 = 0
    var signer: AuthorityID?

    init(_ directory: TemporaryDirectory, fault: JournalFault? = nil, policy: RotationPolicy? = nil) throws {
        let home = try AuthorityDirectory(path: directory.path)
        self.init(home.store, seal: home.seal, fault: fault, policy: policy)
    }

    init(
        _ store: any AuthorityStore & RotationJournal, seal: KeySeal, fault: JournalFault? = nil,
        policy: RotationPolicy? = nil
    ) {
        self.store = store
        keeper = RotationKeeper(
            trustDomain: AuthorityFixture.trustDomain, lifetimes: Self.lifetimes, policy: policy,
            journal: FaultyJournal(store: store, fault: fault), seal: seal)
    }

    var sqlite: SQLiteAuthorityStore {
        get throws { try #require(store as? SQLiteAuthorityStore) }
    }

    /// One step; the effects come after it is durable.
    @discardableResult
    mutating func send(_ event: RotationEvent) async throws -> RotationDecision {
        let node = NodeRecord(
            name: nodeName("node-a"), id: try SPIFFEID("spiffe://culvert.test/culvert/node/node-a"), attestedAt: now,
            serial: "01", expiresAt: .distantFuture,
            acknowledgement: .init(sequence: published, version: "test", leaves: [], at: now))
        let outcome = try await keeper.handle(event, now: now, nodes: published == 0 ? [] : [node])
        perform(outcome)
        return outcome.decision
    }

    mutating func recover() async throws {
        perform(try await keeper.recover(now: now))
    }

    private mutating func perform(_ outcome: RotationKeeper.Outcome) {
        // What becomes visible is in the store, and what signs is in what has been published.
        #expect(outcome.authorities.sequence == outcome.state.sequence)
        for effect in outcome.effects {
            switch effect {
            case .publish(let sequence): published = sequence
            case .sign(let id):
                #expect(outcome.state[id]!.publishedIn <= published)
                signer = id
            case .reissue(let id): #expect(id != signer)
            }
        }
    }

    /// To the end of whatever is under way; time passes where only time is waited for.
    mutating func finish() async throws {
        for _ in 0..<40 {
            now = now.advanced(by: .seconds(1))
            switch try await send(.tick) {
            case .commit: continue
            case .refuse(.undrained(_, let until)): now = until
            case .idle: return
            case let decision: Issue.record("stuck: \(decision)")
            }
        }
        Issue.record("a rotation without end")
    }

    func check() async throws {
        let stored = try await store.rotation()
        let state = try #require(try stored.replayed())
        let records = stored.authorities.records
        #expect(state.rotation == nil)
        #expect(state.active?.id == signer)
        #expect(state.sequence == published)
        #expect(records.filter { $0.kind == .root && $0.state == .active }.count == 1)
        let intermediates = records.filter { $0.kind == .intermediate && $0.state == .active }
        #expect(intermediates.count == 1)
        // It chains to the active root, ends no later, and only these two have keys, and what is prepared.
        let intermediate = try #require(intermediates.first)
        #expect(stored.authorities.roots[intermediate.id] == signer)
        #expect(intermediate.certificate.notValidAfter <= state.active!.notAfter)
        let signing = state.authorities.filter { $0.state == .active || $0.state == .prepared }.map(\.id)
        let keys = records.filter { $0.sealedKey != nil }.map(\.id)
        #expect(Set(keys) == Set(signing).union([intermediate.id]))
    }
}

/// Where a journal's write goes wrong.
struct JournalFault {
    enum Kind: CaseIterable {
        /// Nothing has been written.
        case before
        /// Everything has, and nobody got to know.
        case after
        /// The process goes.
        case killedBefore, killedAfter
    }

    let write: Int
    let kind: Kind
}

final class FaultyJournal: RotationJournal {
    let store: any RotationJournal
    let fault: JournalFault?
    let writes = Mutex(0)

    init(store: any RotationJournal, fault: JournalFault?) {
        self.store = store
        self.fault = fault
    }

    func rotation() async throws(StoreError) -> StoredRotation { try await store.rotation() }

    func history(limit: Int) async throws(StoreError) -> [RotationRecord] { try await store.history(limit: limit) }

    func commit(_ commit: RotationCommit) async throws(StoreError) {
        let write = writes.withLock { count in
            count += 1
            return count
        }
        let kind = fault?.write == write ? fault?.kind : nil
        if kind == .killedBefore { kill(getpid(), SIGKILL) }
        if kind == .before { throw .full(path: "journal") }
        try await store.commit(commit)
        if kind == .killedAfter { kill(getpid(), SIGKILL) }
        if kind == .after { throw .full(path: "journal") }
    }
}

@Suite struct RotationJournalTests {
    /// First start and one rotation, as far as the journal goes along.
    static func rotateOnce(_ rig: inout RotationRig) async throws {
        try await rig.recover()
        try await rig.finish()
        try await rig.send(.command(.rotate))
        try await rig.finish()
    }

    @Test("a first start and a rotation leave one root, its intermediate and nobody else's key")
    func wholeRotation() async throws {
        let directory = TemporaryDirectory()
        var rig = try RotationRig(directory)
        try await Self.rotateOnce(&rig)
        try await rig.check()
        #expect(try await rig.store.rotation().records.map(\.position) == Array(1...9))
        #expect(rig.published == 3)
    }

    @Test(
        "whichever write fails, done or not, a restart goes on from there and the rotation can be finished",
        arguments: 1...9, [JournalFault.Kind.before, .after])
    func everyWrite(write: Int, kind: JournalFault.Kind) async throws {
        let directory = TemporaryDirectory()
        try await Self.fail(at: .init(write: write, kind: kind), directory)
        try await Self.resume(directory, write: write, done: kind == .after)
    }

    private static func fail(at fault: JournalFault, _ directory: TemporaryDirectory) async throws {
        var rig = try RotationRig(directory, fault: fault)
        let error = await #expect(throws: AuthorityError.self) { try await rotateOnce(&rig) }
        #expect(error == .store(.full(path: "journal")))
    }

    private static func resume(_ directory: TemporaryDirectory, write: Int, done: Bool) async throws {
        var rig = try RotationRig(directory)
        try await resume(&rig, write: write, done: done)
    }

    /// What whoever comes after a write that failed, or was the last of its process, makes of it.
    static func resume(_ rig: inout RotationRig, write: Int, done: Bool) async throws {
        rig.now = rig.now.advanced(by: .seconds(5000))
        let last = try await rig.store.rotation().records.last?.position ?? 0
        #expect(last == UInt64(done ? write : write - 1))
        try await rig.recover()
        let rotating = try await rig.store.rotation().replayed()?.rotation != nil
        if rotating { try await rig.send(.command(.resume)) }
        try await rig.finish()
        try await rig.check()
    }

    @Test(
        "a process that is killed before or after any write leaves a journal that goes on",
        arguments: 1...9)
    func killed(write: Int) async throws {
        for kind in [JournalFault.Kind.killedBefore, .killedAfter] {
            let directory = TemporaryDirectory()
            let task = "\(directory.path) \(write) \(kind == .killedBefore ? "before" : "after")"
            setenv(RotationChild.variable, task, 1)
            await #expect(processExitsWith: .signal(SIGKILL)) { try await RotationChild.run() }
            unsetenv(RotationChild.variable)
            try await Self.resume(directory, write: write, done: kind == .killedAfter)
        }
    }

    @Test("an authority that was made without the journal is taken over, and can be rotated")
    func adoption() async throws {
        let directory = TemporaryDirectory()
        let root: AuthorityID
        do {
            let fixture = try await AuthorityFixture(
                directory: directory, clock: TestClock(RotationRig.start), lifetimes: RotationRig.lifetimes)
            root = fixture.authority.status().authorities[0].id
            try fixture.store.execute(onEveryConnection: "DELETE FROM rotation_journal")
        }
        var rig = try RotationRig(directory)
        try await rig.recover()
        #expect(rig.signer == root)
        #expect(rig.published == 1)
        try await rig.send(.command(.rotate))
        try await rig.finish()
        try await rig.check()
        #expect(rig.signer != root)
    }

    @Test("the running authority starts on a store whose root the journal has rotated, and its leaves verify")
    func serving() async throws {
        let directory = TemporaryDirectory()
        let clock = TestClock(RotationRig.start)
        do {
            var rig = try RotationRig(directory)
            try await Self.rotateOnce(&rig)
            clock.advance(.seconds(rig.now.timeIntervalSince(clock.now)))
        }
        let fixture = try await AuthorityFixture(directory: directory, clock: clock, lifetimes: RotationRig.lifetimes)
        let svid = try await fixture.webSVID()
        #expect(fixture.authority.bundle.current.sequence == 3)
        #expect(fixture.authority.bundle.current.authorities.count == 1)
        let verdict = PeerVerifier(bundles: fixture.bundles)
            .verify(chainDER: svid.certificates.map { $0.der() }, role: .client, now: clock.now)
        guard case .verified = verdict else {
            Issue.record("refused: \(verdict)")
            return
        }
    }

    @Test("a journal whose record was altered is not followed")
    func altered() async throws {
        let directory = TemporaryDirectory()
        var rig = try RotationRig(directory)
        try await Self.rotateOnce(&rig)
        try rig.sqlite.execute(
            onEveryConnection: "UPDATE rotation_journal SET record = CAST(record || ' ' AS BLOB) WHERE position = 4")
        let error = await #expect(throws: AuthorityError.self) { try await rig.recover() }
        #expect(
            error == .store(.corrupted(path: try rig.sqlite.path, reason: "rotation record 4 cannot be read")))
    }

    @Test(
        "a journal that lacks a record, or a table that is not the journal's, is not followed",
        arguments: [
            "DELETE FROM rotation_journal WHERE position = 4", "UPDATE bundle SET sequence = 7",
            "UPDATE authorities SET state = 'active' WHERE kind = 'root'",
            "DELETE FROM authorities WHERE state = 'revoked'",
        ])
    func apart(_ sql: String) async throws {
        let directory = TemporaryDirectory()
        var rig = try RotationRig(directory)
        try await Self.rotateOnce(&rig)
        try rig.sqlite.execute(onEveryConnection: sql)
        let error = await #expect(throws: AuthorityError.self) { try await rig.send(.tick) }
        guard case .journal = error else {
            Issue.record("\(error as Any)")
            return
        }
    }

    @Test("of two steps for one place in the journal one is refused, and does nothing")
    func conflict() async throws {
        let directory = TemporaryDirectory()
        var rig = try RotationRig(directory)
        try await rig.recover()
        try await rig.finish()
        let stored = try await rig.store.rotation()
        let record = try #require(stored.records.last)
        let commit = RotationCommit(
            trustDomain: "culvert.test", record: record, upserts: [], removals: [stored.authorities.records[0].id],
            expectedSequence: stored.authorities.sequence)
        await #expect(throws: StoreError.conflict) { try await rig.store.commit(commit) }
        #expect(try await rig.store.rotation() == stored)
    }

    @Test("the journal is condensed, what was revoked a day ago is forgotten, and a restart arrives at the same state")
    func condensed() async throws {
        let directory = TemporaryDirectory()
        var policy = RotationPolicy(leaf: RotationRig.lifetimes.leaf)
        policy.recordsPerCheckpoint = 10
        var rig = try RotationRig(directory, policy: policy)
        try await Self.rotateOnce(&rig)
        let revoked = try #require(try await rig.store.authorities().records.first { $0.state == .revoked })
        for _ in 0..<30 {
            rig.now = rig.now.advanced(by: .seconds(3600))
            try await rig.finish()
        }
        try await rig.check()
        let stored = try await rig.store.rotation()
        #expect(stored.records.count <= 11)
        #expect(stored.records[0].position > 20)
        #expect(!stored.authorities.records.contains { $0.id == revoked.id })
        let before = try stored.replayed()
        try await rig.recover()
        #expect(try await rig.store.rotation().replayed() == before)
    }
}

/// What the killed process does.
enum RotationChild {
    static let variable = "CULVERT_ROTATION_CHILD"

    static func run() async throws {
        let words = String(cString: getenv(variable)).split(separator: " ")
        let fault = JournalFault(write: Int(words[1])!, kind: words[2] == "before" ? .killedBefore : .killedAfter)
        let directory = TemporaryDirectory(path: String(words[0]))
        var rig = try RotationRig(directory, fault: fault)
        try await RotationJournalTests.rotateOnce(&rig)
    }
}
