internal import FoundationEssentials

/// Where steps become durable. Every call is one transaction, as with `AuthorityStore`.
public protocol RotationJournal: Sendable {
    func rotation() async throws(StoreError) -> StoredRotation
    /// All of it or nothing; `StoreError.conflict` if the journal or the bundle is not where the commit expects it.
    func commit(_ commit: RotationCommit) async throws(StoreError)
    /// The newest records first, from before the last checkpoint, too.
    func history(limit: Int) async throws(StoreError) -> [RotationRecord]
}

/// The journal from its last checkpoint on, and the authorities, read in one transaction.
public struct StoredRotation: Sendable, Equatable {
    public var records: [RotationRecord]
    public var authorities: StoredAuthorities

    /// The state that the records add up to; nil before the first. It has to be what the authorities' table says, too: a table and a
    /// journal from two backups are no ground to sign on.
    public func replayed() throws(RotationFlaw) -> RotationState? {
        guard !records.isEmpty else { return nil }
        var state = RotationState()
        for record in records { try state.apply(record) }
        let roots = authorities.records.filter { $0.kind == .root }
        guard state.sequence == authorities.sequence else {
            throw RotationFlaw("the journal is at bundle \(state.sequence), the store at \(authorities.sequence)")
        }
        guard
            Dictionary(roots.map { ($0.id, $0.state) }, uniquingKeysWith: { first, _ in first })
                == Dictionary(state.authorities.map { ($0.id, $0.state) }, uniquingKeysWith: { first, _ in first })
        else { throw RotationFlaw("the journal and the table of authorities differ") }
        return state
    }
}

/// One step as it is made durable: its record, and what it makes of the authorities.
public struct RotationCommit: Sendable, Equatable {
    public var trustDomain: String
    public var record: RotationRecord
    public var upserts: [AuthorityRecord]
    public var removals: [AuthorityID]
    public var expectedSequence: UInt64
}
