public import FoundationEssentials

/// One root in its life: prepared → active → old → tainted → revoked.
///
/// Intermediates are not here: verifiers never learn them, so a change of intermediate waits for nobody.
public struct RotatingAuthority: Sendable, Equatable, Codable {
    public let id: AuthorityID
    public internal(set) var state: AuthorityRecord.State
    public let notBefore: Date
    public let notAfter: Date
    /// The journal record that brought it in.
    public let preparedBy: UInt64
    /// The first bundle that has it.
    public let publishedIn: UInt64
    /// When its present state began.
    public internal(set) var since: Date
    /// When it signed for the last time; nil while it has not stopped.
    public internal(set) var retiredAt: Date?
    /// The longest life, in seconds, of any leaf that it may have signed.
    public internal(set) var leafLifetime: Int64

    public init(
        id: AuthorityID, state: AuthorityRecord.State, notBefore: Date, notAfter: Date, preparedBy: UInt64,
        publishedIn: UInt64, since: Date, retiredAt: Date? = nil, leafLifetime: Int64 = 0
    ) {
        self.id = id
        self.state = state
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.preparedBy = preparedBy
        self.publishedIn = publishedIn
        self.since = since
        self.retiredAt = retiredAt
        self.leafLifetime = leafLifetime
    }

    public var isInBundle: Bool { state != .revoked }
    /// In seconds.
    var life: TimeInterval { notAfter.timeIntervalSince(notBefore) }
}

/// A rotation that somebody asked for and that has not ended: what it has done so far is read from the authorities' states.
public struct Rotation: Sendable, Equatable, Codable {
    /// The journal record that started it.
    public let id: UInt64
    /// The keys that it replaces may be in strangers' hands: it waits for nodes only so long.
    public let emergency: Bool
    public let reason: RotationReason?
    public let startedAt: Date
    /// What will be revoked at its end.
    public let replaces: [AuthorityID]
}

/// What the journal adds up to. Changes by `apply` only, which is how a restart arrives at the same state.
public struct RotationState: Sendable, Equatable, Codable {
    /// Of the newest journal record; 0 before the first.
    public private(set) var position: UInt64 = 0
    /// When the newest record was written.
    public private(set) var recordedAt: Date?
    /// The record that replay begins with.
    public private(set) var checkpoint: UInt64 = 0
    /// The bundle's.
    public private(set) var sequence: UInt64
    public private(set) var authorities: [RotatingAuthority]
    public private(set) var rotation: Rotation?

    public init(sequence: UInt64 = 0, authorities: [RotatingAuthority] = []) {
        self.sequence = sequence
        self.authorities = authorities
    }

    public subscript(_ id: AuthorityID) -> RotatingAuthority? { authorities.first { $0.id == id } }
    /// The only one that signs.
    public var active: RotatingAuthority? { authorities.first { $0.state == .active } }
    public var prepared: RotatingAuthority? { authorities.first { $0.state == .prepared } }
    /// What nothing should depend on any more.
    public var tainted: [AuthorityID] { authorities.filter { $0.state == .tainted }.map(\.id) }
    public var bundle: [AuthorityID] { authorities.filter(\.isInBundle).map(\.id) }

    /// What everybody else has to be told, all of it, as after a restart. Doing any of it twice changes nothing.
    public var effects: [RotationEffect] {
        var effects: [RotationEffect] = []
        if !bundle.isEmpty { effects.append(.publish(sequence: sequence)) }
        if let active { effects.append(.sign(with: active.id)) }
        return effects + tainted.map { .reissue(leavesOf: $0) }
    }

    /// Takes one step, or none of it if the record does not follow on this state.
    public mutating func apply(_ record: RotationRecord) throws(RotationFlaw) {
        guard position == 0 || record.position == position + 1 else {
            throw RotationFlaw(record, "record \(position + 1) was to come")
        }
        var next = self
        if case .checkpoint(let state) = record.step {
            next = state
        } else {
            guard position > 0 else { throw RotationFlaw(record, "a checkpoint was to come") }
            try next.take(record)
            guard next.authorities.count(where: { $0.state == .active }) <= 1,
                next.authorities.count(where: { $0.state == .prepared }) <= 1
            else { throw RotationFlaw(record, "two authorities would be in one place") }
            if Set(next.bundle) != Set(bundle) { next.sequence += 1 }
        }
        guard record.sequence == next.sequence else {
            throw RotationFlaw(record, "the bundle's sequence is \(next.sequence)")
        }
        next.position = record.position
        next.recordedAt = record.at
        if case .checkpoint = record.step { next.checkpoint = record.position }
        self = next
    }

    private mutating func take(_ record: RotationRecord) throws(RotationFlaw) {
        switch record.step {
        case .checkpoint:
            return
        case .started(let emergency, let reason, let replaces):
            rotation = Rotation(
                id: record.position, emergency: emergency, reason: reason, startedAt: record.at, replaces: replaces)
        case .finished:
            guard rotation != nil else { throw RotationFlaw(record, "no rotation is under way") }
            rotation = nil
        case .prepared(let id, let notBefore, let notAfter):
            guard self[id] == nil else { throw RotationFlaw(record, "\(id) is known already") }
            authorities.append(
                RotatingAuthority(
                    id: id, state: .prepared, notBefore: notBefore, notAfter: notAfter, preparedBy: record.position,
                    publishedIn: sequence + 1, since: record.at))
        case .activated(let id, let leafLifetime):
            if let active { try move(active.id, from: [.active], to: .old, record) }
            try move(id, from: [.prepared], to: .active, record)
            raiseLeafLifetime(leafLifetime)
        case .tainted(let id):
            try move(id, from: [.old], to: .tainted, record)
        case .revoked(let id):
            try move(id, from: [.tainted], to: .revoked, record)
        case .expired(let id):
            try move(id, from: [.prepared, .old, .tainted], to: .revoked, record)
        case .aborted(let id, let cancels):
            try move(id, from: [.prepared], to: .revoked, record)
            if cancels { rotation = nil }
        case .leafLifetime(let seconds):
            raiseLeafLifetime(seconds)
        }
    }

    private mutating func raiseLeafLifetime(_ seconds: Int64) {
        guard let index = authorities.firstIndex(where: { $0.state == .active }) else { return }
        authorities[index].leafLifetime = max(authorities[index].leafLifetime, seconds)
    }

    private mutating func move(
        _ id: AuthorityID, from: [AuthorityRecord.State], to state: AuthorityRecord.State, _ record: RotationRecord
    ) throws(RotationFlaw) {
        guard let index = authorities.firstIndex(where: { $0.id == id }) else {
            throw RotationFlaw(record, "\(id) is unknown")
        }
        guard from.contains(authorities[index].state) else {
            throw RotationFlaw(record, "\(id) is \(authorities[index].state)")
        }
        if authorities[index].state == .active { authorities[index].retiredAt = record.at }
        authorities[index].state = state
        authorities[index].since = record.at
    }

    /// This state without what was revoked before `date`.
    func condensed(revokedBefore date: Date) -> RotationState {
        var state = self
        state.authorities.removeAll { $0.state == .revoked && $0.since < date }
        return state
    }
}
