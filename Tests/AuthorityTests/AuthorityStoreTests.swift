import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

/// What every store promises.
@Suite struct AuthorityStoreTests {
    @Test("what was written is read again, after a restart, too", arguments: StoreKind.allCases)
    func restart(kind: StoreKind) async throws {
        let place = try StorePlace(kind)
        let expected: (StoredAuthorities, [NodeRecord], [IssuanceRecord], JoinTokenRecord)
        do {
            let fixture = try await StoreFixture(place)
            try await fixture.join("node-a", serial: 1)
            let leaves = NodeAcknowledgement.Leaves(authority: fixture.signer.id, count: 3, oldestExpiry: 1_767_229_200)
            let said = NodeAcknowledgement(
                sequence: 1, version: "1.2 “three”", leaves: [leaves], at: StoreFixture.start)
            try await fixture.store.acknowledge(said, by: nodeName("node-a"))
            try await fixture.store.record([fixture.issuance(2), fixture.issuance(3, node: nil)])
            let token = try fixture.token("unused")
            try await fixture.store.add(token)
            expected = (
                StoredAuthorities(trustDomain: "culvert.test", records: [fixture.root, fixture.signer], sequence: 1),
                [try fixture.admission(token, serial: 1).node].map { node in
                    var node = node
                    node.acknowledgement = said
                    return node
                },
                [try fixture.issuance(3, node: nil), try fixture.issuance(2), try fixture.issuance(1)], token
            )
            #expect(try await fixture.store.authorities() == expected.0)
        }
        let store = try await place.open()
        #expect(try await store.authorities() == expected.0)
        #expect(try await store.nodes() == expected.1)
        #expect(try await store.issuances(limit: 3).sorted { $0.serial > $1.serial } == expected.2)
        #expect(try await store.issuances(limit: 1).count == 1)
        #expect(try await store.joinToken(digest: expected.3.digest) == expected.3)
        #expect(try await store.joinToken(digest: [1, 2, 3]) == nil)
    }

    @Test("a store that has never had authorities says so", arguments: StoreKind.allCases)
    func empty(kind: StoreKind) async throws {
        let place = try StorePlace(kind)
        let store = try await place.open()
        #expect(try await store.authorities() == StoredAuthorities(trustDomain: nil, records: [], sequence: 0))
        #expect(try await store.rotation().records.isEmpty)
        #expect(try await store.nodes().isEmpty)
    }

    @Test("of many changes that start from one bundle exactly one is made", arguments: StoreKind.allCases)
    func compareAndSwap(kind: StoreKind) async throws {
        let fixture = try await StoreFixture(kind)
        let made = try await withThrowingTaskGroup(of: AuthorityRecord?.self) { group in
            for _ in 0..<12 {
                group.addTask {
                    let record = try StoreFixture.record(.root, .prepared)
                    let change = AuthorityChange(
                        trustDomain: StoreFixture.domain, upserts: [record], expectedSequence: 1, newSequence: 2)
                    do {
                        try await fixture.store.apply(change)
                        return record
                    } catch StoreError.conflict {
                        return nil
                    }
                }
            }
            return try await group.reduce(into: []) { made, record in made += record.map { [$0] } ?? [] }
        }
        #expect(made.count == 1)
        let stored = try await fixture.store.authorities()
        #expect(stored.sequence == 2)
        #expect(stored.records == [fixture.root, fixture.signer] + made)
    }

    @Test(
        "of many attempts with one token exactly one is let in, and nothing is left of the others",
        arguments: StoreKind.allCases)
    func tokenOnce(kind: StoreKind) async throws {
        let fixture = try await StoreFixture(kind)
        let token = try fixture.token("one")
        try await fixture.store.add(token)
        let admitted = try await withThrowingTaskGroup { group in
            for number in 1...20 {
                group.addTask {
                    (number, try await fixture.store.admit(fixture.admission(token, serial: number)))
                }
            }
            return try await group.reduce(into: [Int]()) { if $1.1 == .admitted { $0.append($1.0) } }
        }
        #expect(admitted.count == 1)
        let winner = try fixture.admission(token, serial: try #require(admitted.first))
        #expect(try await fixture.store.nodes() == [winner.node])
        #expect(try await fixture.store.issuances(limit: 100) == [winner.issuance])
        #expect(try await fixture.store.joinToken(digest: token.digest)?.usedAt == StoreFixture.start)
    }

    @Test("an admission that cannot be logged leaves its token good", arguments: StoreKind.allCases)
    func failedAdmission(kind: StoreKind) async throws {
        let fixture = try await StoreFixture(kind)
        try await fixture.join("node-a", serial: 1)
        let token = try fixture.token("two", node: "node-b")
        try await fixture.store.add(token)
        // The serial number has been used.
        await #expect(throws: StoreError.self) { try await fixture.store.admit(fixture.admission(token, serial: 1)) }
        #expect(try await fixture.store.nodes().map(\.name.description) == ["node-a"])
        #expect(try await fixture.store.admit(fixture.admission(token, serial: 2)) == .admitted)
    }

    @Test("signatures are logged all or none, and no serial number twice", arguments: StoreKind.allCases)
    func allOrNone(kind: StoreKind) async throws {
        let fixture = try await StoreFixture(kind)
        try await fixture.join("node-a", serial: 1)
        await #expect(throws: StoreError.self) {
            try await fixture.store.record([fixture.issuance(2), fixture.issuance(1), fixture.issuance(3)])
        }
        #expect(try await fixture.store.issuances(limit: 10).map(\.serial) == ["000001"])
        try await fixture.store.record((2..<200).map { try fixture.issuance($0) })
        #expect(try await fixture.store.issuances(limit: 500).count == 199)
    }

    @Test("what an authority has signed that signs no more is not recorded", arguments: StoreKind.allCases)
    func superseded(kind: StoreKind) async throws {
        let fixture = try await StoreFixture(kind)
        try await fixture.join("node-a", serial: 1)
        let next = try await fixture.replaceSigner()
        await #expect(throws: StoreError.superseded) { try await fixture.store.record([fixture.issuance(2)]) }
        await #expect(throws: StoreError.superseded) {
            try await fixture.store.record([fixture.issuance(3, by: next), fixture.issuance(4)])
        }
        let token = try fixture.token("late", node: "node-b")
        try await fixture.store.add(token)
        await #expect(throws: StoreError.superseded) {
            try await fixture.store.admit(fixture.admission(token, serial: 5))
        }
        #expect(try await fixture.store.joinToken(digest: token.digest)?.usedAt == nil)
        try await fixture.store.record([fixture.issuance(6, by: next), fixture.issuance(7, by: next, node: nil)])
        #expect(try await fixture.store.issuances(limit: 10).map(\.serial) == ["000007", "000006", "000001"])
    }

    @Test(
        "once an authority is retired not one more of its signatures is recorded, however many are under way",
        arguments: StoreKind.allCases)
    func fence(kind: StoreKind) async throws {
        let fixture = try await StoreFixture(kind)
        try await fixture.join("node-a", serial: 0xff_ffff)
        // A second process, where there may be one.
        let other = kind == .sqlite ? fixture.store : try await fixture.place.open()
        try await withThrowingTaskGroup { group in
            for worker in 0..<8 {
                group.addTask {
                    let store = worker % 2 == 0 ? fixture.store : other
                    for number in 0... {
                        let record = try fixture.issuance(worker << 16 | number)
                        do { try await store.record([record]) } catch StoreError.superseded { return }
                    }
                }
            }
            while try await fixture.store.issuances(limit: 100).count < 100 {}
            _ = try await fixture.replaceSigner()
            let recorded = try await fixture.store.issuances(limit: 1_000_000).count
            try await group.waitForAll()
            #expect(try await fixture.store.issuances(limit: 1_000_000).count == recorded)
        }
    }

    @Test(
        "a node's next SVID counts once it is seen; bans and evictions are the last word", arguments: StoreKind.allCases
    )
    func standing(kind: StoreKind) async throws {
        let fixture = try await StoreFixture(kind)
        let node = nodeName("node-a")
        #expect(try await fixture.store.node(node) == nil)
        try await fixture.join("node-a", serial: 1)
        let first = try #require(try await fixture.store.node(node))
        func renewal(_ serial: Int, shown: String) throws -> NodeRenewal {
            NodeRenewal(node: node, presentedSerial: shown, issuance: try fixture.issuance(serial))
        }
        #expect(try await fixture.store.renew(renewal(2, shown: first.serial)))
        let second = try #require(try await fixture.store.node(node)?.nextSerial)
        try await fixture.store.promote(node, serial: "none of these")
        #expect(try await fixture.store.node(node)?.serial == first.serial)
        try await fixture.store.promote(node, serial: second)
        #expect(try await fixture.store.node(node)?.serial == second)
        #expect(try await fixture.store.node(node)?.nextSerial == nil)
        #expect(try await fixture.store.renew(renewal(3, shown: first.serial)) == false)
        try await fixture.store.markCloned(node, at: StoreFixture.start)
        let ban = NodeBan(at: StoreFixture.start, reason: "it's “gone”")
        #expect(try await fixture.store.setBan(ban, of: node))
        let banned = try #require(try await fixture.store.node(node))
        #expect(banned.ban == ban && banned.cloneSeenAt == StoreFixture.start)
        #expect(try await fixture.store.nodes() == [banned])
        #expect(try await fixture.store.renew(renewal(4, shown: second)) == false)
        await #expect(throws: StoreError.superseded) { try await fixture.store.record([fixture.issuance(5)]) }
        let token = try fixture.token("again")
        try await fixture.store.add(token)
        #expect(try await fixture.store.admit(fixture.admission(token, serial: 6)) == .banned)
        #expect(try await fixture.store.setBan(nil, of: node))
        #expect(try await fixture.store.admit(fixture.admission(token, serial: 6)) == .admitted)
        let again = try #require(try await fixture.store.node(node))
        #expect(again.cloneSeenAt == nil && again.nextSerial == nil && !again.banned)
        #expect(try await fixture.store.issuances(for: node, limit: 2).map(\.serial) == ["000006", "000002"])
        let unused = try fixture.token("unused")
        try await fixture.store.add(unused)
        #expect(try await fixture.store.evict(node))
        #expect(try await fixture.store.node(node) == nil)
        #expect(try await fixture.store.joinToken(digest: unused.digest) == nil)
        #expect(try await fixture.store.joinToken(digest: token.digest) != nil)
        await #expect(throws: StoreError.superseded) { try await fixture.store.record([fixture.issuance(7)]) }
        #expect(try await fixture.store.evict(node) == false)
        #expect(try await fixture.store.setBan(ban, of: node) == false)
    }

    @Test(
        "a node that shows tokens is recorded once; what is known of it already stays, and it may attest later",
        arguments: StoreKind.allCases)
    func introduced(kind: StoreKind) async throws {
        let fixture = try await StoreFixture(kind)
        func bearer(_ name: String, _ age: TimeInterval = 0) throws -> NodeRecord {
            let date = StoreFixture.start.addingTimeInterval(age)
            return NodeRecord(
                name: nodeName(name), id: try SPIFFEID("spiffe://culvert.test/culvert/node/\(name)"), attestedAt: date,
                serial: "", expiresAt: date)
        }
        let first = try bearer("node-b")
        #expect(try await fixture.store.introduce(first) == first)
        #expect(try await fixture.store.nodes() == [first])
        try await fixture.store.record([fixture.issuance(1, node: "node-b")])
        let ban = NodeBan(at: StoreFixture.start, reason: "gone")
        #expect(try await fixture.store.setBan(ban, of: first.name))
        #expect(try await fixture.store.introduce(bearer("node-b", 60)).ban == ban)
        await #expect(throws: StoreError.superseded) {
            try await fixture.store.record([fixture.issuance(2, node: "node-b")])
        }
        #expect(try await fixture.store.setBan(nil, of: first.name))
        try await fixture.join("node-b", serial: 3)
        let attested = try #require(try await fixture.store.node(first.name))
        #expect(attested.hasAttested)
        #expect(try await fixture.store.introduce(bearer("node-b", 120)) == attested)
    }

    @Test("the log forgets what has expired, and the oldest beyond its bound", arguments: StoreKind.allCases)
    func pruning(kind: StoreKind) async throws {
        let fixture = try await StoreFixture(kind)
        try await fixture.join("node-a", serial: 1)
        try await fixture.store.record((2...20).map { try fixture.issuance($0) })
        // Those up to number 5 end before it.
        try await fixture.store.prune(expiredBefore: StoreFixture.start.addingTimeInterval(3606), issuancesMax: 100)
        #expect(try await fixture.store.issuances(limit: 100).count == 15)
        try await fixture.store.prune(expiredBefore: StoreFixture.start, issuancesMax: 4)
        #expect(
            try await fixture.store.issuances(limit: 100).map(\.serial) == ["000014", "000013", "000012", "000011"])
        try await fixture.store.prune(expiredBefore: StoreFixture.start, issuancesMax: 4)
        #expect(try await fixture.store.issuances(limit: 100).count == 4)
    }
}
