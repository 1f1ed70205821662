import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

@Suite struct RotationStateTests {
    private static let (first, second, third) = (authorityID(1), authorityID(2), authorityID(3))

    /// With an old, an active and a prepared authority, in this order; bundle 3.
    private static func bench() -> RotationBench {
        var bench = RotationBench.running()
        bench.send(.prepare)
        bench.report()
        bench.send(.activate(second))
        bench.send(.prepare)
        return bench
    }

    struct Illegal: Sendable {
        let step: RotationRecord.Step
        let reason: String
        var sequence: UInt64 = 3
        var skips: UInt64 = 0
    }

    static let illegal: [Illegal] = [
        .init(step: .activated(id: first, leafLifetime: 1), reason: "0001 is old"),
        .init(step: .activated(id: authorityID(7), leafLifetime: 1), reason: "0007 is unknown"),
        .init(step: .tainted(id: second), reason: "0002 is active"),
        .init(step: .tainted(id: third), reason: "0003 is prepared"),
        .init(step: .revoked(id: first), reason: "0001 is old", sequence: 4),
        .init(step: .revoked(id: second), reason: "0002 is active", sequence: 4),
        .init(step: .expired(id: second), reason: "0002 is active", sequence: 4),
        .init(step: .aborted(id: first, cancels: false), reason: "0001 is old", sequence: 4),
        .init(
            step: .prepared(id: authorityID(8), notBefore: .distantPast, notAfter: .distantFuture),
            reason: "two authorities would be in one place", sequence: 4),
        .init(
            step: .prepared(id: first, notBefore: .distantPast, notAfter: .distantFuture),
            reason: "0001 is known already",
            sequence: 4),
        .init(step: .finished(id: 1), reason: "no rotation is under way"),
        // The bundle changes, or does not, and the sequence says otherwise.
        .init(step: .tainted(id: first), reason: "the bundle's sequence is 3", sequence: 4),
        .init(step: .aborted(id: third, cancels: false), reason: "the bundle's sequence is 4"),
        .init(step: .tainted(id: first), reason: "record 7 was to come", skips: 1),
    ]

    @Test("a record that cannot follow is not applied, and changes nothing", arguments: illegal.indices)
    func refused(_ index: Int) {
        let row = Self.illegal[index]
        var state = Self.bench().state
        let before = state
        let record = RotationRecord(
            position: state.position + 1 + row.skips, at: state.recordedAt ?? .distantPast, step: row.step,
            sequence: row.sequence, override: nil)
        let flaw = #expect(throws: RotationFlaw.self) { try state.apply(record) }
        #expect(flaw?.description == "rotation record \(record.position): \(row.reason)")
        #expect(state == before)
    }

    @Test("a journal begins with a checkpoint")
    func beginning() {
        var state = RotationState()
        let record = RotationRecord(
            position: 1, at: .distantPast, step: .leafLifetime(seconds: 1), sequence: 0, override: nil)
        #expect(throws: RotationFlaw.self) { try state.apply(record) }
    }

    private func node(
        _ leaves: [NodeAcknowledgement.Leaves], expiresIn: Int = 60, banned: Bool = false
    ) throws -> NodeRecord {
        let now = RotationRig.start
        return NodeRecord(
            name: nodeName("node-a"), id: try SPIFFEID("spiffe://culvert.test/culvert/node/node-a"), attestedAt: now,
            serial: "01", expiresAt: now.advanced(by: .seconds(expiresIn)),
            ban: banned ? NodeBan(at: now, reason: "test") : nil,
            acknowledgement: .init(sequence: 3, version: "test", leaves: leaves, at: now))
    }

    @Test("a node that is banned, or whose SVID has run out, is not waited for")
    func liveness() throws {
        #expect(RotationNode(try node([]), issuers: [:], now: RotationRig.start) != nil)
        #expect(RotationNode(try node([], banned: true), issuers: [:], now: RotationRig.start) == nil)
        #expect(RotationNode(try node([], expiresIn: 0), issuers: [:], now: RotationRig.start) == nil)
    }

    @Test("leaves count for the root above their issuer, and for every root if nobody knows it")
    func dependents() throws {
        let issuers = [
            authorityID(0x11): Self.first, authorityID(0x12): Self.first, authorityID(0x21): Self.second,
            Self.first: Self.first, Self.second: Self.second,
        ]
        let leaves = { (id: AuthorityID, count: UInt32) in
            NodeAcknowledgement.Leaves(authority: id, count: count, oldestExpiry: 0)
        }
        let known = try node([leaves(authorityID(0x11), 2), leaves(authorityID(0x12), 3), leaves(authorityID(0x21), 0)])
        #expect(
            RotationNode(known, issuers: issuers, now: RotationRig.start)?.report?.dependents == [Self.first: 5])
        let unknown = try node([leaves(authorityID(0x99), 1)])
        #expect(
            RotationNode(unknown, issuers: issuers, now: RotationRig.start)?.report?.dependents
                == [Self.first: 1, Self.second: 1])
    }

    @Test("an authority that a node's leaves chain to is found through its intermediates on a real store")
    func realIssuers() async throws {
        let fixture = try await AuthorityFixture()
        let svid = try await fixture.webSVID()
        let stored = try await fixture.store.authorities()
        let root = try #require(stored.records.first { $0.kind == .root })
        #expect(stored.roots[svid.record.authority] == root.id)
        #expect(svid.record.authority != root.id)
    }
}
