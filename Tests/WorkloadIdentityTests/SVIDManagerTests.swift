import FoundationEssentials
import Logging
import SPIFFE
import Synchronization
import Testing

@testable import WorkloadIdentity

@Suite(.timeLimit(.minutes(1))) struct SVIDManagerTests {
    /// A manager in time that jumps: whoever sleeps moves the clock to when it wanted to wake. Time goes on while requests are
    /// answered, too, so a world has to last far longer than what happens in it.
    final class World: Sendable {
        let published = Mutex<[(SPIFFEID, X509SVID, UInt64)]>([])
        let withdrawn = Mutex<[SPIFFEID]>([])
        let authority: TestAuthority
        let issuer: ScriptedIssuer
        let end: Date

        init(lasting: TimeInterval, script: [ScriptedIssuer.Answer] = []) throws {
            let start = Date(timeIntervalSince1970: 1_767_225_600)
            end = start.addingTimeInterval(lasting)
            authority = try TestAuthority(now: start)
            let clock = Clock(start: start)
            issuer = ScriptedIssuer(authority, now: { clock.now }, script: script)
            self.clock = clock
        }

        private let clock: Clock

        final class Clock: Sendable {
            private let current: Mutex<Date>
            init(start: Date) { current = Mutex(start) }
            var now: Date { current.withLock { $0 } }
            func advance(_ duration: Duration) { current.withLock { $0.addTimeInterval(duration / .seconds(1)) } }
        }

        var now: Date { clock.now }

        func manager() throws -> SVIDManager {
            let bundles = try authority.bundles
            let (clock, end) = (self.clock, self.end)
            return SVIDManager(
                issuer: issuer,
                bundles: { bundles },
                surroundings: .init(
                    now: { clock.now },
                    sleep: { duration in
                        // Requests under way are answered before time goes on.
                        for _ in 0..<200 { await Task.yield() }
                        try Task.checkCancellation()
                        guard clock.now < end else { return try await Task.sleep(for: .seconds(3600)) }
                        clock.advance(duration)
                    },
                    draw: { 0.5 }),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                publish: { id, svid, generation in self.published.withLock { $0.append((id, svid, generation)) } },
                withdraw: { id in self.withdrawn.withLock { $0.append(id) } })
        }

        /// Runs until `condition` holds.
        func run(_ manager: SVIDManager, until condition: @escaping @Sendable () async -> Bool) async {
            let running = Task { await manager.run() }
            while !(await condition()) { try? await Task.sleep(for: .milliseconds(1)) }
            running.cancel()
            await running.value
        }
    }

    @Test("a held identity is published, proven, and renewed for as long as it is held")
    func renews() async throws {
        let world = try World(lasting: 4 * 3600)
        let manager = try world.manager()
        let id = try SPIFFEID("spiffe://td/ns/shop/sa/web")
        await manager.hold(podUID: "a", identity: id)
        #expect(await manager.obstacles.count == 1)
        await world.run(manager) { world.now >= world.end }
        let published = world.published.withLock { $0 }
        // At 52.5 % of 3600 s, each 1890 s after the one before it; later where the test's clock outran an issuance.
        #expect((4...9).contains(published.count))
        #expect(published.map(\.2) == Array(1...UInt64(published.count)))
        #expect(Set(published.map(\.1.serialNumber)).count == published.count)
        #expect(await manager.obstacles.isEmpty)
    }

    @Test("failures are waited out, wrong answers are never published, and then all is well")
    func failures() async throws {
        let world = try World(
            lasting: 48 * 3600,
            script: [
                .fail(IssuanceError(.unreachable, "connection refused")), .otherIdentity, .otherKey,
                .fail(IssuanceError(.retry(after: .seconds(30)), "busy")), .good(lifetime: 2), .good(lifetime: 3600),
            ])
        let manager = try world.manager()
        let id = try SPIFFEID("spiffe://td/ns/shop/sa/web")
        await manager.hold(podUID: "a", identity: id)
        await world.run(manager) { world.published.withLock { !$0.isEmpty } }
        #expect(world.issuer.requests.count == 6)
        #expect(world.published.withLock { $0.map(\.0) } == [id])
    }

    @Test("an authority that is away for longer than a certificate's life is survived without help")
    func longOutage() async throws {
        let down = ScriptedIssuer.Answer.fail(IssuanceError(.unreachable, "connection refused"))
        let world = try World(
            lasting: 48 * 3600, script: [.good(lifetime: 3600)] + Array(repeating: down, count: 60))
        let manager = try world.manager()
        await manager.hold(podUID: "a", identity: try SPIFFEID("spiffe://td/ns/shop/sa/web"))
        await world.run(manager) { world.published.withLock { $0.count == 2 } }
        let published = world.published.withLock { $0 }
        #expect(published[1].1.notBefore > published[0].1.notAfter)
    }

    @Test("many identities at once are asked for eight at a time, and all arrive")
    func many() async throws {
        let world = try World(lasting: 48 * 3600)
        let manager = try world.manager()
        for index in 0..<50 {
            await manager.hold(podUID: "p\(index)", identity: try SPIFFEID("spiffe://td/ns/shop/sa/s\(index)"))
        }
        // This world's time passes while requests are answered: the first ones may be renewed already.
        await world.run(manager) { world.published.withLock { Set($0.map(\.0)).count == 50 } }
        #expect(world.issuer.mostUnderWay <= IdentityLedger.concurrencyMax)
        #expect(Set(world.issuer.requests).count == 50)
    }

    @Test("a released identity is withdrawn and asked for no more")
    func release() async throws {
        let world = try World(lasting: 2 * 3600)
        let manager = try world.manager()
        let id = try SPIFFEID("spiffe://td/ns/shop/sa/web")
        await manager.hold(podUID: "a", identity: id)
        await world.run(manager) { world.published.withLock { !$0.isEmpty } }
        await manager.release(podUID: "a")
        #expect(world.withdrawn.withLock { $0 } == [id])
        #expect(await manager.statuses.isEmpty)
    }
}
