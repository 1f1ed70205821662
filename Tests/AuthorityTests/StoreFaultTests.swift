import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

@Suite struct StoreFaultTests {
    /// Makes the last write of every transaction that issues something fail: all that comes before it has to be undone.
    private static let breakLog =
        "CREATE TEMP TRIGGER fault BEFORE INSERT ON main.issuances BEGIN SELECT RAISE(ABORT, 'input/output error'); END"

    @Test("a store whose writing fails half-way issues nothing, says so, and recovers by itself")
    func failingHalfWay() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let token = try await fixture.authority.createJoinToken(node: NodeName("node-b")).token
        let before = try await fixture.store.issuances(limit: 100)
        try fixture.store.execute(onEveryConnection: Self.breakLog)
        let denial = await #expect(throws: Denial.self) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
        #expect(denial == .notReady("\(fixture.directory.path)/authority.sqlite: input/output error"))
        fixture.clock.advance(.seconds(10))
        await #expect(throws: Denial.self) { try await fixture.authority.renewNode(csr: request(), caller: node) }
        await #expect(throws: Denial.self) {
            try await fixture.authority.attestNode(token: token.text, csr: request(), source: "test")
        }
        #expect(fixture.authority.status().nodes.count == 1)
        #expect(try await fixture.store.nodes() == fixture.authority.status().nodes)
        #expect(!fixture.audit.all.contains(.nodeAttested(try NodeName("node-b"), from: "test")))
        try fixture.store.execute(onEveryConnection: "DROP TRIGGER temp.fault")
        #expect(try await fixture.store.issuances(limit: 100) == before)
        // The failed attempt has not used the token up.
        _ = try await fixture.authority.attestNode(token: token.text, csr: request(), source: "test")
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
    }

    @Test("a store where nothing can be written is an error that names it")
    func unwritable() {
        let error = #expect(throws: StoreError.self) { try SQLiteAuthorityStore(path: "/proc/authority.sqlite") }
        #expect(error?.description.contains("/proc/authority.sqlite") == true)
    }

    @Test("a full store issues nothing, says so, and recovers by itself")
    func full() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        // No page more than there are now: what is full is this file, not the machine's disk.
        try fixture.store.execute(onEveryConnection: "PRAGMA max_page_count = 1")
        var denial: Denial?
        var issued = 0
        while denial == nil, issued < 400 {
            do throws(Denial) {
                _ = try await fixture.authority.issue(podUID: "web-uid", csr: (try? request()) ?? [], caller: node)
                issued += 1
            } catch {
                denial = error
            }
        }
        #expect(denial == .notReady("no space left for \(fixture.directory.path)/authority.sqlite"))
        // One for the node and one for each that was handed out.
        #expect(try await fixture.store.issuances(limit: 1000).count == issued + 1)
        try fixture.store.execute(onEveryConnection: "PRAGMA max_page_count = 100000")
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
    }

    @Test("changes to the bundle need its present sequence number")
    func compareAndSet() async throws {
        let fixture = try await AuthorityFixture()
        let change = AuthorityChange(
            trustDomain: "culvert.test", upserts: [], expectedSequence: 7, newSequence: 8)
        await #expect(throws: StoreError.conflict) { try await fixture.store.apply(change) }
        #expect(try await fixture.store.authorities().sequence == 1)
    }

    @Test("the log forgets what has expired, and the oldest beyond its bound")
    func pruning() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        for _ in 0..<5 { _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node) }
        try await fixture.store.prune(expiredBefore: fixture.clock.now, issuancesMax: 3)
        #expect(try await fixture.store.issuances(limit: 100).count == 3)
        fixture.clock.advance(.seconds(3601))
        try await fixture.store.prune(expiredBefore: fixture.clock.now, issuancesMax: 3)
        #expect(try await fixture.store.issuances(limit: 100).isEmpty)
    }
}
