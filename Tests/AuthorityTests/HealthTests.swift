import FoundationEssentials
import SPIFFE
import Synchronization
import Testing

@testable import Authority

@Suite("The authority's health")
struct HealthTests {
    /// A monotonic time that moves only when told to.
    private final class Stopwatch: Sendable {
        private let current = Mutex(ContinuousClock.now)
        var now: ContinuousClock.Instant { current.withLock { $0 } }
        func advance(_ duration: Duration) { current.withLock { $0 += duration } }
    }

    /// The second of the store's connections finds it done already, and says so.
    private func rename(_ table: String, to name: String, _ fixture: AuthorityFixture) {
        try? fixture.store.execute(onEveryConnection: "ALTER TABLE \(table) RENAME TO \(name)")
    }

    @Test("is good when it signs under the published bundle, and nothing of that is recorded, counted or audited")
    func healthy() async throws {
        let fixture = try await AuthorityFixture()
        let events = fixture.audit.all.count
        #expect(await AuthorityHealth(fixture.authority).obstacle == nil)
        #expect(try await fixture.store.issuances(limit: 1).isEmpty)
        #expect(fixture.authority.status().signed == 0)
        #expect(fixture.audit.all.count == events)
    }

    @Test("is looked at anew only after the interval, however often it is asked for")
    func interval() async throws {
        let fixture = try await AuthorityFixture()
        let watch = Stopwatch()
        let health = AuthorityHealth(fixture.authority, interval: .seconds(3)) { watch.now }
        #expect(await health.obstacle == nil)
        // Beyond the intermediate's end nothing can be signed.
        fixture.clock.advance(.seconds(8 * 86400))
        watch.advance(.seconds(2))
        #expect(await health.obstacle == nil)
        watch.advance(.seconds(1))
        #expect(await health.obstacle?.contains("its intermediate is valid from") == true)
    }

    @Test("is bad while what is signed does not verify under the bundle that is published")
    func unpublishedRoot() async throws {
        let fixture = try await AuthorityFixture()
        let stranger = try await AuthorityFixture()
        fixture.authority.bundle.publish(stranger.authority.bundle.current)
        let obstacle = await AuthorityHealth(fixture.authority).obstacle
        #expect(obstacle?.hasPrefix("what it signs does not verify under the published bundle: ") == true)
    }

    @Test("is bad while the store cannot be read, and the errors are counted")
    func store() async throws {
        let fixture = try await AuthorityFixture()
        rename("authorities", to: "hidden", fixture)
        let obstacle = await AuthorityHealth(fixture.authority).obstacle
        #expect(obstacle?.hasPrefix("the store cannot be read: ") == true)
        #expect(fixture.authority.counts.storeErrors == 1)
        rename("hidden", to: "authorities", fixture)
        #expect(await AuthorityHealth(fixture.authority).obstacle == nil)
    }

    @Test("is bad after three failures of maintenance in a row, and good again after one success")
    func maintenance() async throws {
        let fixture = try await AuthorityFixture()
        rename("issuances", to: "hidden", fixture)
        for round in UInt64(1)...3 {
            await #expect(throws: AuthorityError.self) { try await fixture.authority.maintain() }
            #expect(fixture.authority.counts.maintenance.consecutive == round)
            let obstacle = await AuthorityHealth(fixture.authority).obstacle
            #expect((obstacle != nil) == (round == 3))
        }
        rename("hidden", to: "issuances", fixture)
        try await fixture.authority.maintain()
        #expect(fixture.authority.counts.maintenance.consecutive == 0)
        #expect(fixture.authority.counts.maintenance.total == 3)
        #expect(await AuthorityHealth(fixture.authority).obstacle == nil)
    }

    @Test("denials are counted by their reason")
    func denials() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        for uid in ["nobody", "db-uid", "db-uid", "gone-uid"] {
            await #expect(throws: Denial.self) {
                try await fixture.authority.issue(podUID: uid, csr: request(), caller: node)
            }
        }
        #expect(
            fixture.authority.counts.deniedByReason == ["pod_unknown": 1, "pod_not_on_node": 2, "pod_terminated": 1])
    }
}

@Suite("A streak of failures")
struct FailureStreakTests {
    @Test("ends with a success, while the total stays")
    func streak() {
        var streak = FailureStreak()
        streak.failed("first")
        streak.failed("second")
        #expect(streak.consecutive == 2 && streak.total == 2 && streak.reason == "second")
        streak.succeeded()
        #expect(streak.consecutive == 0 && streak.total == 2 && streak.reason == nil)
        streak.failed("third")
        #expect(streak.consecutive == 1 && streak.total == 3)
    }
}
