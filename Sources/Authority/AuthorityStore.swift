public import FoundationEssentials

/// What the authority must not forget.
///
/// Every call is one transaction: after it returns the change is durable, after it throws nothing has changed. Implementations are
/// safe to call from many tasks at once.
public protocol AuthorityStore: Sendable {
    func authorities() async throws(StoreError) -> StoredAuthorities
    /// Applies all of it or nothing; `StoreError.conflict` if the bundle's sequence is not the expected one any more.
    func apply(_ change: AuthorityChange) async throws(StoreError)

    func add(_ token: JoinTokenRecord) async throws(StoreError)
    func joinToken(digest: [UInt8]) async throws(StoreError) -> JoinTokenRecord?
    /// Marks the token used, records the node and logs its SVID. Of concurrent attempts exactly one returns `.admitted`.
    func admit(_ admission: NodeAdmission) async throws(StoreError) -> NodeAdmission.Outcome

    func nodes() async throws(StoreError) -> [NodeRecord]
    /// Records the node's new SVID and logs it.
    func renew(_ node: NodeRecord, issuance: IssuanceRecord) async throws(StoreError)
    func acknowledge(_ acknowledgement: NodeAcknowledgement, by node: NodeName) async throws(StoreError)

    /// Logs signatures, all or none.
    func record(_ issuances: [IssuanceRecord]) async throws(StoreError)
    /// The newest signatures first.
    func issuances(limit: Int) async throws(StoreError) -> [IssuanceRecord]
    /// Forgets signatures and tokens that ran out before `date`, and the oldest signatures beyond `issuancesMax`.
    func prune(expiredBefore date: Date, issuancesMax: Int) async throws(StoreError)

    /// Whether other processes may change what is in it.
    var isShared: Bool { get }
    /// Whether this process is the one that moves the authorities on; of several on one store, one. A hint: nothing may rest on it.
    var leads: Bool { get }
    /// Says what other processes may have changed, until cancelled; sometimes nothing has. To be run once, and it is what leads.
    func follow(_ changed: @escaping @Sendable (StoreNews) async -> Void) async
}

/// What may be different now.
public enum StoreNews: Sendable, Equatable {
    case anything
    /// Authorities, bundle or journal.
    case authorities
    case node(NodeName)
}

/// A store that one process has to itself.
extension AuthorityStore {
    public var isShared: Bool { false }
    public var leads: Bool { true }
    public func follow(_ changed: @escaping @Sendable (StoreNews) async -> Void) async {}
}

/// All authorities and the bundle's sequence, read in one transaction.
public struct StoredAuthorities: Sendable, Equatable {
    /// nil in a store that has never had any.
    public var trustDomain: String?
    public var records: [AuthorityRecord]
    /// 0 before the first bundle.
    public var sequence: UInt64

    public init(trustDomain: String?, records: [AuthorityRecord], sequence: UInt64) {
        self.trustDomain = trustDomain
        self.records = records
        self.sequence = sequence
    }
}

/// One step of the authorities' life. The bundle's sequence grows exactly when the bundle's content changes.
public struct AuthorityChange: Sendable, Equatable {
    public var trustDomain: String
    public var upserts: [AuthorityRecord]
    public var removals: [AuthorityID]
    public var expectedSequence: UInt64
    public var newSequence: UInt64

    public init(
        trustDomain: String,
        upserts: [AuthorityRecord],
        removals: [AuthorityID] = [],
        expectedSequence: UInt64,
        newSequence: UInt64
    ) {
        self.trustDomain = trustDomain
        self.upserts = upserts
        self.removals = removals
        self.expectedSequence = expectedSequence
        self.newSequence = newSequence
    }
}

/// A node's first SVID and the token that pays for it.
public struct NodeAdmission: Sendable, Equatable {
    public enum Outcome: Sendable, Equatable {
        case admitted
        case alreadyUsed
    }

    public let tokenDigest: [UInt8]
    public let node: NodeRecord
    public let issuance: IssuanceRecord

    public init(tokenDigest: [UInt8], node: NodeRecord, issuance: IssuanceRecord) {
        self.tokenDigest = tokenDigest
        self.node = node
        self.issuance = issuance
    }
}
