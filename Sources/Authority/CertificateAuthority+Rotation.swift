internal import FoundationEssentials
internal import Synchronization

extension CertificateAuthority {
    /// No event leads to more steps than this.
    private static let stepsMax = 64

    /// What an operator asks for, and then every step that is due by it.
    public func rotate(
        _ command: RotationCommand, by caller: AdminCaller
    ) async throws(AuthorityError) -> RotationAnswer {
        try await turnstile.pass { () async throws(AuthorityError) in
            guard state.withLock({ $0.plugin == nil }) else {
                audit(.rotationRefused(command, .pluggedIn, by: caller))
                return RotationAnswer(taken: [], refusal: .pluggedIn, state: state.withLock { $0.rotation })
            }
            if let refusal = olderCopy {
                audit(.rotationRefused(command, refusal, by: caller))
                return RotationAnswer(taken: [], refusal: refusal, state: state.withLock { $0.rotation })
            }
            let outcome = try await step(.command(command), by: caller)
            guard case .commit(let record, _) = outcome.decision else {
                guard case .refuse(let refusal) = outcome.decision else {
                    return RotationAnswer(taken: [], refusal: nil, state: outcome.state)
                }
                audit(.rotationRefused(command, refusal, by: caller))
                return RotationAnswer(taken: [], refusal: refusal, state: outcome.state)
            }
            let more = try await settle()
            // What comes next is due sooner than maintenance thought: an emergency waits for seconds.
            wakeUps.continuation.yield()
            return RotationAnswer(taken: [record] + more, refusal: nil, state: state.withLock { $0.rotation })
        }
    }

    /// The journal's newest records first.
    public func rotationHistory(limit: Int) async throws(AuthorityError) -> [RotationRecord] {
        do { return try await keeper.journal.history(limit: limit) } catch { throw .store(error) }
    }

    /// Takes every step that is due, and keeps what the next one waits for. Behind the turnstile.
    @discardableResult
    func settle() async throws(AuthorityError) -> [RotationRecord] {
        guard state.withLock({ $0.plugin == nil }) else {
            try await settlePlugin()
            return []
        }
        try checkRootLives()
        if let refusal = olderCopy {
            state.withLock { ($0.waiting, $0.nextStepAt) = (refusal, nil) }
            return []
        }
        var taken: [RotationRecord] = []
        while taken.count < Self.stepsMax {
            let outcome = try await step(.tick)
            guard case .commit(let record, _) = outcome.decision else {
                state.withLock { state in
                    (state.waiting, state.nextStepAt) = outcome.decision.pause
                }
                break
            }
            taken.append(record)
        }
        return taken
    }

    /// Set while a node that may be at work has a bundle that was never published from this store. It would take no other content under a
    /// number that it knows, and would say that it has it.
    var olderCopy: RotationRefusal? {
        let now = clock()
        return state.withLock { state in
            guard let ahead = state.ahead, ahead.sequence > state.sequence,
                let node = state.nodes[ahead.node], node.isLive(at: now)
            else { return nil }
            return .olderCopy(ahead.node, sequence: ahead.sequence, current: state.sequence)
        }
    }

    /// By a clock that is a year ahead every node is gone, and a new root would wait for nobody: a good one would be thrown away.
    private func checkRootLives() throws(AuthorityError) {
        let rotation = state.withLock { $0.rotation }
        let now = clock()
        guard let active = rotation.active, now >= active.notAfter else { return }
        if let prepared = rotation.prepared, now < prepared.notAfter { return }
        throw .rootExpired(active.notAfter)
    }

    /// Of two processes that take a step at once one has done nothing: it looks again, and decides anew.
    private func step(
        _ event: RotationEvent, by caller: AdminCaller? = nil
    ) async throws(AuthorityError) -> RotationKeeper.Outcome {
        var attempts = 0
        while true {
            attempts += 1
            let nodes = try await knownNodes()
            do throws(AuthorityError) {
                let outcome = try await keeper.handle(event, now: clock(), nodes: nodes)
                try adopt(outcome, by: caller)
                return outcome
            } catch {
                guard error == .store(.conflict), attempts < 8 else { throw error }
            }
        }
    }

    /// Makes what is durable visible, all of it and not only what this step changed: nothing is lost if the one before it failed
    /// half-way. The bundle comes first: nobody is to meet a leaf of an authority that was not published.
    func adopt(_ outcome: RotationKeeper.Outcome, by caller: AdminCaller? = nil) throws(AuthorityError) {
        let stored = outcome.authorities
        let published = bundle.current.sequence
        guard stored.sequence >= published else {
            throw .journal("bundle \(published) has been published, and the store is at \(stored.sequence)")
        }
        let present = state.withLock { $0.signer }
        let active = stored.records.first { $0.kind == .intermediate && $0.state == .active }
        let signer = active?.id == present.id ? present : try Self.signer(of: stored.records, seal: seal)
        bundle.publish(try Self.bundle(of: stored, configuration), tainted: outcome.state.tainted)
        state.withLock { state in
            state.authorities = stored.records
            state.sequence = stored.sequence
            state.signer = signer
            state.rotation = outcome.state
        }
        if case .commit(let record, _) = outcome.decision {
            audit(.rotated(record, by: caller))
            if let cutOff = record.override?.cutOff { audit(.nodesCutOff(cutOff, by: record)) }
        }
        if let active, active.id != present.id { auditActivation(active) }
    }
}

/// What came of a command.
public struct RotationAnswer: Sendable, Equatable {
    /// The steps that were taken at once, in their order.
    public let taken: [RotationRecord]
    /// Why there were none.
    public let refusal: RotationRefusal?
    public let state: RotationState
}

extension RotationDecision {
    /// What is waited for, and until when as far as time alone decides.
    var pause: (RotationRefusal?, Date?) {
        switch self {
        case .refuse(let refusal): (refusal, refusal.until)
        case .idle(let until): (nil, until)
        case .commit, .makeCandidate: (nil, nil)
        }
    }
}
