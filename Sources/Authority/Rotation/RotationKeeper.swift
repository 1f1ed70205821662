public import FoundationEssentials
public import SPIFFE
internal import X509

/// Takes the machine's steps on a store: makes keys, makes each step durable, and only then says what others may see of it.
///
/// Keeps nothing in memory between two calls: the journal is the state, so that no failure leaves the two apart. Of two calls at once
/// one may throw `StoreError.conflict`; it has done nothing then.
public struct RotationKeeper: Sendable {
    /// What one event led to.
    public struct Outcome: Sendable {
        public let state: RotationState
        /// Authorities and bundle as stored.
        public let authorities: StoredAuthorities
        /// To be done now. After a crash in between, `recover` has them again.
        public let effects: [RotationEffect]
        public let decision: RotationDecision
    }

    public let machine: RotationMachine
    let succession: AuthoritySuccession
    let journal: any RotationJournal

    public init(
        trustDomain: TrustDomain,
        lifetimes: AuthorityLifetimes,
        policy: RotationPolicy? = nil,
        journal: any RotationJournal,
        seal: KeySeal,
        random: @escaping RandomBytes = systemRandomBytes
    ) {
        machine = RotationMachine(policy: policy ?? RotationPolicy(leaf: lifetimes.leaf))
        succession = AuthoritySuccession(trustDomain: trustDomain, lifetimes: lifetimes, seal: seal, random: random)
        self.journal = journal
    }

    /// At start: replays the journal, or begins it with the authorities that there are. The effects are all that hold now.
    public func recover(now: Date) async throws(AuthorityError) -> Outcome {
        var stored = try await read()
        if let name = stored.authorities.trustDomain, name != succession.trustDomain.name {
            throw .otherTrustDomain(stored: name, wanted: succession.trustDomain.name)
        }
        if try replay(stored) == nil {
            let sequence = stored.authorities.sequence
            let roots = stored.authorities.records.filter { $0.kind == .root }.map { record in
                RotatingAuthority(
                    id: record.id, state: record.state, notBefore: record.certificate.notValidBefore,
                    notAfter: record.certificate.notValidAfter, preparedBy: 1, publishedIn: sequence,
                    since: record.state == .active ? record.createdAt : now.inWholeSeconds,
                    retiredAt: record.state == .active ? nil : now.inWholeSeconds,
                    // Nothing says what the configuration was before.
                    leafLifetime: AuthorityLifetimes.leafMax.components.seconds)
            }
            try await write(
                RotationCommit(
                    trustDomain: succession.trustDomain.name,
                    record: machine.adopt(roots, sequence: sequence, now: now), upserts: [], removals: [],
                    expectedSequence: sequence))
            stored = try await read()
        }
        let state = try replay(stored) ?? RotationState()
        return Outcome(
            state: state, authorities: stored.authorities, effects: state.effects, decision: .idle(until: nil))
    }

    /// One event, one step at most. `nodes` are all that have ever attested, with what they acknowledged last.
    public func handle(
        _ event: RotationEvent, now: Date, nodes: [NodeRecord]
    ) async throws(AuthorityError) -> Outcome {
        let stored = try await read()
        guard let state = try replay(stored) else { return try await recover(now: now) }
        let issuers = stored.authorities.roots
        var situation = RotationSituation(
            now: now, nodes: nodes.compactMap { RotationNode($0, issuers: issuers, now: now) })
        var made: AuthorityRecord?
        var decision = machine.decide(event, in: state, situation)
        if decision == .makeCandidate {
            let record = try succession.newRoot(now: now).record(
                .root, .prepared, createdAt: situation.now, seal: succession.seal)
            situation.candidate = .init(
                id: record.id, notBefore: record.certificate.notValidBefore, notAfter: record.certificate.notValidAfter)
            made = record
            decision = machine.decide(event, in: state, situation)
        }
        guard case .commit(let record, let effects) = decision else {
            return Outcome(state: state, authorities: stored.authorities, effects: [], decision: decision)
        }
        var next = state
        do { try next.apply(record) } catch { throw .journal("\(error)") }
        var upserts = made.map { [$0] } ?? []
        for authority in next.authorities where state[authority.id].map({ $0.state != authority.state }) ?? false {
            upserts += try moved(authority, stored.authorities, now: now)
        }
        let removals = state.authorities.filter { next[$0.id] == nil }.map(\.id)
        try await write(
            RotationCommit(
                trustDomain: succession.trustDomain.name, record: record, upserts: upserts, removals: removals,
                expectedSequence: state.sequence))
        return Outcome(
            state: next, authorities: try await read().authorities, effects: effects, decision: decision)
    }

    /// What a root's new state makes of the stored records. A root begins to sign with an intermediate of its own, and one that stops
    /// loses its key and its intermediate's in the same transaction: what is tainted cannot sign.
    private func moved(
        _ authority: RotatingAuthority, _ stored: StoredAuthorities, now: Date
    ) throws(AuthorityError) -> [AuthorityRecord] {
        guard var root = stored.records.first(where: { $0.id == authority.id }) else { throw .noRoot }
        var changed: [AuthorityRecord] = []
        if authority.state == .active {
            // Opened here: a key that cannot sign is found before anybody depends on it.
            let signer = try succession.intermediate(under: SigningAuthority(root, seal: succession.seal), now: now)
            changed.append(
                try signer.record(.intermediate, .active, createdAt: now.inWholeSeconds, seal: succession.seal))
        } else {
            root.sealedKey = nil
            for var intermediate in stored.records
            where intermediate.kind == .intermediate && intermediate.state == .active
                && stored.roots[intermediate.id] == root.id
            {
                intermediate.state = .old
                intermediate.sealedKey = nil
                changed.append(intermediate)
            }
        }
        root.state = authority.state
        return [root] + changed
    }

    private func read() async throws(AuthorityError) -> StoredRotation {
        do { return try await journal.rotation() } catch { throw .store(error) }
    }

    private func write(_ commit: RotationCommit) async throws(AuthorityError) {
        do { try await journal.commit(commit) } catch { throw .store(error) }
    }

    private func replay(_ stored: StoredRotation) throws(AuthorityError) -> RotationState? {
        do { return try stored.replayed() } catch { throw .journal(error.description) }
    }
}

extension StoredAuthorities {
    /// The root above each authority, roots themselves included: issuers are found by key identifier.
    var roots: [AuthorityID: AuthorityID] {
        var roots: [AuthorityID: AuthorityID] = [:]
        for record in records {
            switch record.kind {
            case .root: roots[record.id] = record.id
            case .intermediate:
                roots[record.id] = record.certificate.signerKeyIdentifier.flatMap(AuthorityID.init)
            }
        }
        return roots
    }
}
