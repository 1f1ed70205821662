import Crypto
import DatabaseKit
import FoundationEssentials
import PostgreSQL
import SPIFFE
import X509

@testable import Authority

/// Every store there is: what holds for one holds for all.
enum StoreKind: String, CaseIterable, Sendable {
    case sqlite, postgresql
}

/// Where a store of some kind lies; it goes with the last reference.
enum StorePlace: Sendable {
    case file(TemporaryDirectory)
    case database(TestDatabase)

    init(_ kind: StoreKind) throws {
        switch kind {
        case .sqlite: self = .file(TemporaryDirectory())
        case .postgresql: self = .database(try TestDatabase())
        }
    }

    func open() async throws -> any AuthorityStore & RotationJournal {
        switch self {
        case .file(let directory): try SQLiteAuthorityStore(path: "\(directory.path)/authority.sqlite")
        case .database(let database): try await PostgreSQLAuthorityStore.open(database.address)
        }
    }

    /// Runs SQL that both understand, past the store.
    func execute(_ sql: String, _ store: any AuthorityStore) throws {
        switch self {
        case .file: try (store as? SQLiteAuthorityStore)?.execute(onEveryConnection: sql)
        case .database(let database): try database.execute(sql)
        }
    }
}

/// A store with one root and one intermediate in it, and what it takes to write more.
struct StoreFixture {
    static let start = Date(unixSeconds: 1_767_225_600)
    static let domain = "culvert.test"

    let place: StorePlace
    let store: any AuthorityStore & RotationJournal
    let root: AuthorityRecord
    let signer: AuthorityRecord

    init(_ kind: StoreKind) async throws {
        try await self.init(StorePlace(kind))
    }

    init(_ place: StorePlace) async throws {
        self.place = place
        store = try await place.open()
        root = try Self.record(.root, .active)
        signer = try Self.record(.intermediate, .active)
        try await store.apply(
            AuthorityChange(
                trustDomain: Self.domain, upserts: [root, signer], expectedSequence: 0, newSequence: 1))
    }

    private static let succession = AuthoritySuccession(
        trustDomain: AuthorityFixture.trustDomain, lifetimes: AuthorityLifetimes(),
        seal: KeySeal(key: [UInt8](repeating: 7, count: KeySeal.keySize)), random: systemRandomBytes)

    /// A new authority; what it chains to is of no concern to a store.
    static func record(
        _ kind: AuthorityRecord.Kind, _ state: AuthorityRecord.State
    ) throws -> AuthorityRecord {
        var record = try succession.newRoot(now: start).record(kind, state, createdAt: start, seal: succession.seal)
        if state != .active && state != .prepared { record.sealedKey = nil }
        return record
    }

    func issuance(_ number: Int, by authority: AuthorityRecord? = nil, node: String? = "node-a") throws
        -> IssuanceRecord
    {
        IssuanceRecord(
            serial: hexadecimal([
                UInt8(truncatingIfNeeded: number >> 16), UInt8(truncatingIfNeeded: number >> 8),
                UInt8(truncatingIfNeeded: number),
            ]),
            id: try SPIFFEID("spiffe://culvert.test/ns/shop/sa/web"), podUID: node == nil ? nil : "web-uid",
            node: try node.map { try NodeName($0) },
            notAfter: Self.start.addingTimeInterval(TimeInterval(3600 + number)),
            authority: (authority ?? signer).id, issuedAt: Self.start.addingTimeInterval(TimeInterval(number)))
    }

    func token(_ name: String, node: String = "node-a") throws -> JoinTokenRecord {
        JoinTokenRecord(
            digest: Array(SHA256.hash(data: Array(name.utf8))), node: try NodeName(node), createdAt: Self.start,
            expiresAt: Self.start.addingTimeInterval(600))
    }

    func admission(_ token: JoinTokenRecord, serial number: Int) throws -> NodeAdmission {
        let issuance = try issuance(number, node: token.node.description)
        return NodeAdmission(
            tokenDigest: token.digest,
            node: NodeRecord(
                name: token.node, id: try SPIFFEID("spiffe://culvert.test/culvert/node/\(token.node)"),
                attestedAt: Self.start, serial: issuance.serial, expiresAt: issuance.notAfter),
            issuance: issuance)
    }

    /// A node that has joined.
    func join(_ node: String, serial: Int) async throws {
        let token = try token("token of \(node) \(serial)", node: node)
        try await store.add(token)
        guard try await store.admit(admission(token, serial: serial)) == .admitted else { fatalError("not admitted") }
    }

    /// The intermediate gives way to another.
    func replaceSigner() async throws -> AuthorityRecord {
        let next = try Self.record(.intermediate, .active)
        var old = signer
        old.state = .old
        old.sealedKey = nil
        let sequence = try await store.authorities().sequence
        try await store.apply(
            AuthorityChange(
                trustDomain: Self.domain, upserts: [next, old], expectedSequence: sequence, newSequence: sequence))
        return next
    }
}
