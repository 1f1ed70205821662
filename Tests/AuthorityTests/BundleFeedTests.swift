import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

@Suite struct BundleFeedTests {
    @Test("a subscriber gets the bundle at once and every newest one after it")
    func updates() async throws {
        let fixture = try await AuthorityFixture()
        let first = fixture.authority.bundle.current
        let second = try TrustBundle(
            trustDomain: first.trustDomain, authorities: first.authorities, sequence: 2, refreshHint: 300)
        let third = try TrustBundle(
            trustDomain: first.trustDomain, authorities: first.authorities, sequence: 3, refreshHint: 300)
        var iterator = try fixture.authority.bundle.updates().makeAsyncIterator()
        #expect(await iterator.next()?.sequence == 1)
        fixture.authority.bundle.publish(second)
        fixture.authority.bundle.publish(third)
        #expect(await iterator.next()?.sequence == 3)
        fixture.authority.bundle.finish()
        #expect(await iterator.next() == nil)
    }

    @Test("subscribers beyond the bound are told to come back; leaving makes room")
    func bound() async throws {
        var limits = AuthorityLimits()
        limits.bundleSubscribersMax = 2
        let feed = try await AuthorityFixture(limits: limits).authority.bundle
        let first = try feed.updates()
        let held = try feed.updates()
        #expect(throws: Denial.self) { try feed.updates() }
        let reader = Task { for await _ in first {} }
        reader.cancel()
        await reader.value
        _ = try feed.updates()
        withExtendedLifetime(held) {}
    }

    @Test("who comes when the authority is going away gets the bundle, and is not kept")
    func lateSubscriber() async throws {
        let authority = try await AuthorityFixture().authority
        authority.bundle.finish()
        var sequences: [UInt64] = []
        for await bundle in try authority.bundle.updates(for: NodeName("node-a")) { sequences.append(bundle.sequence) }
        #expect(sequences == [authority.bundle.current.sequence])
        #expect(authority.bundle.followers.isEmpty)
    }

    @Test("an acknowledgement is kept per node; one from the future is not believed")
    func acknowledgement() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let authority = try #require(AuthorityID("00ff"))
        try await fixture.authority.acknowledge(
            sequence: 1, version: "9", leaves: [.init(authority: authority, count: 4, oldestExpiry: 5)], caller: node)
        try await fixture.authority.acknowledge(sequence: 99, version: "9", leaves: [], caller: node)
        let acknowledged = try #require(fixture.authority.status().nodes[0].acknowledgement)
        #expect(acknowledged.sequence == 1)
        #expect(acknowledged.leafCount == 4)
        #expect(try await fixture.store.nodes()[0].acknowledgement == acknowledged)
        #expect(fixture.audit.all.contains(.acknowledgedFuture(try NodeName("node-a"), sequence: 99, current: 1)))
    }

    @Test("what a node reports is cut to its bounds")
    func bounds() {
        let leaves = (0..<100).compactMap { AuthorityID("0\($0 % 10)") }.map {
            NodeAcknowledgement.Leaves(authority: $0, count: .max, oldestExpiry: 0)
        }
        let acknowledgement = NodeAcknowledgement(
            sequence: 1, version: String(repeating: "v", count: 10_000), leaves: leaves, at: Date())
        #expect(acknowledgement.leaves.count == NodeAcknowledgement.authoritiesMax)
        #expect(acknowledgement.version.count == 64)
        #expect(acknowledgement.leafCount == UInt64(UInt32.max) * 64)
    }

    @Test("attempts from more addresses than can be remembered do not grow the table")
    func attestationSources() throws {
        var limits = AuthorityLimits()
        limits.attestationSourcesMax = 10
        limits.attestationBurst = 2
        let now = Date(timeIntervalSince1970: 0)
        var allowance = AttestationAllowance(limits, now: now)
        for source in 0..<10 { try allowance.take(from: "\(source)", at: now) }
        #expect(throws: Denial.self) { try allowance.take(from: "one more", at: now) }
        // Once the others have recovered they are forgotten.
        try allowance.take(from: "one more", at: now.advanced(by: .seconds(2)))
    }

    @Test("a clock that jumps back neither fills a bucket nor empties it")
    func bucketClock() {
        let now = Date(timeIntervalSince1970: 1000)
        var bucket = TokenBucket(burst: 1, perSecond: 1, now: now)
        #expect(bucket.take(at: now) == nil)
        #expect(bucket.take(at: now.advanced(by: .seconds(-500))) == .seconds(1))
        #expect(bucket.take(at: now.advanced(by: .seconds(-499))) == nil)
    }
}
