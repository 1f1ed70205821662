public import FoundationEssentials

/// Decides the authorities' next step. Does no I/O and keeps nothing: everything that it knows is passed in.
///
/// One event is one step at most; `tick` until it is idle or refused. Its promises:
/// - A bundle that has an authority is out, and every live node has acknowledged it, before the authority signs.
/// - An authority leaves the bundle only tainted, and when no live leaf or connection depends on it; or expired; or if it never signed.
/// - Past a guard goes a reason only, and the journal has it.
public struct RotationMachine: Sendable {
    public let policy: RotationPolicy

    public init(policy: RotationPolicy) { self.policy = policy }

    public func decide(
        _ event: RotationEvent, in state: RotationState, _ situation: RotationSituation
    ) -> RotationDecision {
        let turn = RotationTurn(policy: policy, state: state, situation: situation)
        do throws(RotationRefusal) {
            switch event {
            case .tick: return try turn.tick()
            case .command(let command): return try turn.answer(command)
            }
        } catch {
            return .refuse(error)
        }
    }

    /// The journal's first record: takes over authorities that were made without it.
    public func adopt(
        _ authorities: [RotatingAuthority], sequence: UInt64, now: Date
    ) -> RotationRecord {
        RotationRecord(
            position: 1, at: now.inWholeSeconds,
            step: .checkpoint(
                state: RotationState(sequence: sequence, authorities: authorities)),
            sequence: sequence, override: nil)
    }
}

/// One decision being made.
struct RotationTurn {
    let policy: RotationPolicy
    let state: RotationState
    let situation: RotationSituation

    var now: Date { situation.now }

    // MARK: Commands

    func answer(_ command: RotationCommand) throws(RotationRefusal) -> RotationDecision {
        let clock = clockGuard()
        // Before all else, as dates mean nothing then.
        if let clock, command.force == nil { throw clock }
        switch command {
        case .activate(let id, let force):
            return try commit(
                .activated(id: id, leafLifetime: policy.leafSeconds), passing(force, [clock] + activationGuards(id)))
        case .revoke(let id, let force):
            return try commit(.revoked(id: id), passing(force, [clock] + revocationGuards(id)))
        case .prepare: return try prepare()
        case .taint(let id):
            _ = try authority(id, wanted: .old)
            return try commit(.tainted(id: id))
        case .abort: return try abort()
        case .rotate: return try rotate(emergency: false, reason: nil)
        case .rotateInEmergency(let reason): return try rotate(emergency: true, reason: reason)
        case .resume:
            guard let rotation = state.rotation else { throw .nothingToResume }
            return try advance(rotation)
        }
    }

    private func prepare() throws(RotationRefusal) -> RotationDecision {
        if let prepared = state.prepared { throw .alreadyPrepared(prepared.id) }
        guard state.bundle.count < policy.authoritiesMax else { throw .tooManyAuthorities(policy.authoritiesMax) }
        guard let candidate = situation.candidate else { return .makeCandidate }
        guard state[candidate.id] == nil else { throw .keyUsedBefore(candidate.id) }
        try checkLife(candidate.id, notBefore: candidate.notBefore, notAfter: candidate.notAfter)
        return try commit(
            .prepared(id: candidate.id, notBefore: candidate.notBefore, notAfter: candidate.notAfter))
    }

    private func abort() throws(RotationRefusal) -> RotationDecision {
        // Past activation a rotation has to be finished: the replaced authority's key is gone.
        let cancels = state.rotation.map { rotation in
            state.active.map { rotation.replaces.contains($0.id) } ?? true
        }
        if let prepared = state.prepared { return try commit(.aborted(id: prepared.id, cancels: cancels ?? false)) }
        if let rotation = state.rotation, cancels == true { return try commit(.finished(id: rotation.id)) }
        throw .nothingPrepared
    }

    private func rotate(emergency: Bool, reason: RotationReason?) throws(RotationRefusal) -> RotationDecision {
        // An emergency takes over from a rotation that is none.
        if let rotation = state.rotation, rotation.emergency || !emergency { throw .rotationUnderWay(rotation.id) }
        guard state.active != nil else { throw .nothingToRotate }
        let replaces = state.authorities.filter { [.active, .old, .tainted].contains($0.state) }.map(\.id)
        return try commit(.started(emergency: emergency, reason: reason, replaces: replaces))
    }

    // MARK: Time

    func tick() throws(RotationRefusal) -> RotationDecision {
        if let refusal = clockGuard() { throw refusal }
        if let housekeeping = try housekeep() { return housekeeping }
        var refusal: RotationRefusal?
        if let rotation = state.rotation {
            switch Result(catching: { () throws(RotationRefusal) in try advance(rotation) }) {
            case .success(let decision): return decision
            // What the rotation waits for must not keep the active authority from being replaced in time.
            case .failure(let wait): refusal = wait
            }
        }
        let decision = try succeed()
        if case .idle = decision, let refusal { throw refusal }
        return decision
    }

    private func housekeep() throws(RotationRefusal) -> RotationDecision? {
        if let active = state.active, active.leafLifetime < policy.leafSeconds {
            return try commit(.leafLifetime(seconds: policy.leafSeconds))
        }
        let expired = state.authorities.first {
            [.prepared, .old, .tainted].contains($0.state) && $0.notAfter.advanced(by: policy.skew) < now
        }
        if let expired { return try commit(.expired(id: expired.id)) }
        if state.position >= state.checkpoint + policy.recordsPerCheckpoint {
            let condensed = state.condensed(revokedBefore: now.advanced(by: .zero - AuthoritySuccession.memory))
            return try commit(.checkpoint(state: condensed))
        }
        return nil
    }

    /// The next step of a rotation that somebody asked for.
    private func advance(_ rotation: Rotation) throws(RotationRefusal) -> RotationDecision {
        if state.active.map({ rotation.replaces.contains($0.id) }) ?? true {
            guard let prepared = state.prepared else { return try prepare() }
            // What was made before an emergency may be in the same hands.
            let suspect = rotation.emergency && prepared.preparedBy < rotation.id
            if suspect || lacksLife(prepared) { return try commit(.aborted(id: prepared.id, cancels: false)) }
            return try commit(
                .activated(id: prepared.id, leafLifetime: policy.leafSeconds),
                passing(rotation, activationGuards(prepared.id)))
        }
        let left = state.authorities.filter { rotation.replaces.contains($0.id) && $0.isInBundle }
        if let old = left.first(where: { $0.state == .old }) { return try commit(.tainted(id: old.id)) }
        guard let tainted = left.first else { return try commit(.finished(id: rotation.id)) }
        return try commit(.revoked(id: tainted.id), passing(rotation, revocationGuards(tainted.id)))
    }

    /// The next step that time alone makes due.
    private func succeed() throws(RotationRefusal) -> RotationDecision {
        let activateAt = state.active.map(policy.activateAt) ?? .distantPast
        guard let prepared = state.prepared else {
            let prepareAt = state.active.map(policy.prepareAt) ?? .distantPast
            return now >= prepareAt ? try prepare() : .idle(until: prepareAt)
        }
        if lacksLife(prepared) { return try commit(.aborted(id: prepared.id, cancels: false)) }
        // One that would end first is for the operator to activate or to abort.
        let gains = state.active.map { prepared.notAfter > $0.notAfter } ?? true
        guard now >= activateAt, gains else { return .idle(until: max(activateAt, now)) }
        return try commit(
            .activated(id: prepared.id, leafLifetime: policy.leafSeconds), passing(nil, activationGuards(prepared.id)))
    }

    // MARK: Guards

    func authority(
        _ id: AuthorityID, wanted: AuthorityRecord.State
    ) throws(RotationRefusal) -> RotatingAuthority {
        guard let authority = state[id] else { throw .unknown(id) }
        guard authority.state == wanted else { throw .wrongState(id, is: authority.state, wanted: wanted) }
        return authority
    }

    private func clockGuard() -> RotationRefusal? {
        guard let recorded = state.recordedAt, now < recorded.advanced(by: .zero - policy.clockTolerance) else {
            return nil
        }
        return .clockWentBack(now: now, recorded: recorded)
    }

    private func checkLife(_ id: AuthorityID, notBefore: Date, notAfter: Date) throws(RotationRefusal) {
        guard notBefore <= now else { throw .notYetValid(id, from: notBefore) }
        let needed = policy.needed(at: now)
        guard notAfter >= needed else { throw .tooLittleLife(id, notAfter: notAfter, needed: needed) }
    }

    private func lacksLife(_ authority: RotatingAuthority) -> Bool { authority.notAfter < policy.needed(at: now) }

    /// What activation waits for. Throws what no reason overrides.
    private func activationGuards(_ id: AuthorityID) throws(RotationRefusal) -> [RotationRefusal?] {
        let authority = try authority(id, wanted: .prepared)
        try checkLife(id, notBefore: authority.notBefore, notAfter: authority.notAfter)
        let laggards = situation.nodes.filter { node in
            // A sequence from the future is of another history than this one.
            guard let held = node.report?.sequence else { return true }
            return held < authority.publishedIn || held > state.sequence
        }
        if laggards.isEmpty { return [] }
        return [
            .awaitingAcknowledgement(
                id, sequence: authority.publishedIn,
                laggards: laggards.map { .init(node: $0.name, acknowledged: $0.report?.sequence) })
        ]
    }

    /// What revocation waits for. Throws what no reason overrides.
    private func revocationGuards(_ id: AuthorityID) throws(RotationRefusal) -> [RotationRefusal?] {
        let authority = try authority(id, wanted: .tainted)
        var waits: [RotationRefusal] = []
        let dependents = situation.nodes.compactMap { node in
            node.report?.dependents[id].flatMap { $0 > 0 ? RotationRefusal.Dependent(node: node.name, count: $0) : nil }
        }
        if !dependents.isEmpty { waits.append(.inUse(id, by: dependents)) }
        let retired = authority.retiredAt ?? authority.since
        // A report from the second of the last signature may be from before it.
        let silent = situation.nodes.filter { ($0.report?.at.inWholeSeconds ?? .distantPast) <= retired }
        if !silent.isEmpty { waits.append(.awaitingReports(id, nodes: silent.map(\.name))) }
        let drained = policy.drainedAt(authority)
        if now < drained { waits.append(.undrained(id, until: drained)) }
        return waits
    }

    /// An operator's reason goes past every wait.
    private func passing(
        _ reason: RotationReason?, _ waits: [RotationRefusal?]
    ) throws(RotationRefusal) -> RotationRecord.Override? {
        let waits = waits.compactMap(\.self)
        guard let first = waits.first else { return nil }
        guard let reason else { throw first }
        return .init(
            reason: reason, waivedWait: waits.map(\.description).joined(separator: "; "),
            cutOff: RotationRecord.CutOff(waits))
    }

    /// An emergency goes past a wait once its patience is at an end, and does not wait out the leaves' life at all once every node says
    /// that it holds none: whoever has the key can make leaves of their own.
    private func passing(
        _ rotation: Rotation, _ waits: [RotationRefusal?]
    ) throws(RotationRefusal) -> RotationRecord.Override? {
        guard rotation.emergency, let reason = rotation.reason else { return try passing(nil, waits) }
        for wait in waits.compactMap(\.self) {
            switch wait {
            case .awaitingAcknowledgement(let id, _, _):
                guard patienceIsOver(id, policy.emergencyActivation) else { throw wait }
            case .awaitingReports(let id, _), .inUse(let id, _):
                guard patienceIsOver(id, policy.emergencyRevocation) else { throw wait }
            default: continue
            }
        }
        return try passing(reason, waits)
    }

    private func patienceIsOver(_ id: AuthorityID, _ patience: Duration) -> Bool {
        guard let since = state[id]?.since else { return false }
        return now >= since.advanced(by: patience)
    }

    // MARK: Record

    private func commit(
        _ step: RotationRecord.Step, _ override: RotationRecord.Override? = nil
    ) throws(RotationRefusal) -> RotationDecision {
        var next = state
        // The sequence follows from the step; a trial says which.
        for sequence in [state.sequence, state.sequence + 1] {
            let record = RotationRecord(
                position: state.position + 1, at: now, step: step, sequence: sequence, override: override)
            guard (try? next.apply(record)) != nil else { continue }
            let before = Set(state.effects)
            return .commit(record, effects: next.effects.filter { !before.contains($0) })
        }
        preconditionFailure("a step that its own state refuses: \(step)")
    }
}
