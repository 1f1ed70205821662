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
    func node(_ name: NodeName) async throws(StoreError) -> NodeRecord?
    /// Records a node that is not known yet; returns what is recorded under its name.
    func introduce(_ node: NodeRecord) async throws(StoreError) -> NodeRecord
    /// Records the SVID that follows the one which the node showed, and logs it; false, and nothing, if that one is not the node's
    /// any more, or the node is banned or forgotten.
    func renew(_ renewal: NodeRenewal) async throws(StoreError) -> Bool
    /// The node was seen to use its renewed SVID: the one before it is worth nothing any more.
    func promote(_ node: NodeName, serial: String) async throws(StoreError)
    func markCloned(_ node: NodeName, at date: Date) async throws(StoreError)
    /// Bans, or with nil lifts the ban; false if there is no such node.
    func setBan(_ ban: NodeBan?, of node: NodeName) async throws(StoreError) -> Bool
    /// Forgets the node and its unused tokens; false if there was nothing to forget.
    func evict(_ node: NodeName) async throws(StoreError) -> Bool
    func acknowledge(_ acknowledgement: NodeAcknowledgement, by node: NodeName) async throws(StoreError)

    /// Logs signatures, all or none.
    func record(_ issuances: [IssuanceRecord]) async throws(StoreError)
    /// The newest signatures first.
    func issuances(limit: Int) async throws(StoreError) -> [IssuanceRecord]
    /// The newest ones for a node and its pods first.
    func issuances(for node: NodeName, limit: Int) async throws(StoreError) -> [IssuanceRecord]
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
        /// The token stays good.
        case banned
    }

    /// Of the join token to be used up; nil where the node is known by something that is not used up.
    public let tokenDigest: [UInt8]?
    public let node: NodeRecord
    public let issuance: IssuanceRecord

    public init(tokenDigest: [UInt8]?, node: NodeRecord, issuance: IssuanceRecord) {
        self.tokenDigest = tokenDigest
        self.node = node
        self.issuance = issuance
    }
}

/// A node's next SVID, and the one that it follows.
public struct NodeRenewal: Sendable, Equatable {
    public let node: NodeName
    /// Of the SVID that the node showed.
    public let presentedSerial: String
    public let issuance: IssuanceRecord

    public init(node: NodeName, presentedSerial: String, issuance: IssuanceRecord) {
        self.node = node
        self.presentedSerial = presentedSerial
        self.issuance = issuance
    }
}
