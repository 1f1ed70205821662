internal import FoundationEssentials
internal import SPIFFE
internal import Synchronization

/// What it takes for several processes to be one authority on one store.
///
/// Shared, since they are in the store: authorities, bundle and journal, join tokens, nodes with their bans and what they acknowledged, and the
/// log of signatures. Each process's own: allowances (a node that asks n replicas gets up to n times as much), counters, and streams.
/// A replica that has not heard of a change yet may refuse for a moment what is allowed by now; it cannot release what is not.
extension CertificateAuthority {
    /// Keeps up with the other processes until cancelled. To be run once; where there are none it returns at once.
    public func keepUp(onFailure: @escaping @Sendable (AuthorityError) -> Void) async {
        await store.follow { news in
            do throws(AuthorityError) { try await self.heard(news) } catch { onFailure(error) }
        }
    }

    private func heard(_ news: StoreNews) async throws(AuthorityError) {
        switch news {
        case .node(let name): try await refresh([name])
        case .authorities: try await reload()
        case .anything:
            try await reload()
            try await refresh(nil)
        }
        // Who leads may have something to do now; who has begun to, certainly.
        wakeUps.continuation.yield()
    }

    /// Makes visible what is in the store: the bundle first, then the authority that signs.
    func reload() async throws(AuthorityError) {
        try await turnstile.pass { () async throws(AuthorityError) in
            try adopt(try await keeper.recover(now: clock()))
        }
    }

    /// Reads `names` again, or all nodes.
    func refresh(_ names: [NodeName]?) async throws(AuthorityError) {
        var found: [NodeName: NodeRecord] = [:]
        do throws(StoreError) {
            if let names {
                for name in names { found[name] = try await store.node(name) }
            } else {
                for record in try await store.nodes() { found[record.name] = record }
            }
        } catch {
            throw .store(error)
        }
        state.withLock { [found] state in
            guard let names else { return state.nodes = found }
            for name in names { state.nodes[name] = found[name] }
        }
        // Banned or forgotten by another process: their streams end here, too.
        for follower in bundle.followers where names?.contains(follower) ?? true {
            if found[follower]?.banned ?? true { bundle.finish(follower) }
        }
    }

    /// What the nodes have said, to whichever process.
    func knownNodes() async throws(AuthorityError) -> [NodeRecord] {
        if store.isShared { try await refresh(nil) }
        return state.withLock { Array($0.nodes.values) }
    }

    /// Signs, records, and only then returns. If another process has replaced the signing authority in between, the store does not take
    /// the record: then the new bundle is published, and the new authority signs. With an `urgency` it waits for its turn among others.
    func signAndRecord<Value: Sendable>(
        for node: NodeName?, _ urgency: IssuanceUrgency? = nil, _ sign: () throws(Denial) -> IssuedSVID,
        _ record: (IssuedSVID) async throws(StoreError) -> Value
    ) async throws(Denial) -> (svid: IssuedSVID, Value) {
        for _ in 0..<3 {
            let svid =
                if let urgency { try await gate.signing(urgency, sign) } else { try sign() }
            let value = try await recorded { () async throws(StoreError) -> Value? in
                try await Self.nilIfSuperseded { () async throws(StoreError) in try await record(svid) }
            }
            if let value { return (svid, value) }
            try await catchUp(node)
        }
        throw .notReady("\(StoreError.superseded)")
    }

    /// nil if the store does not take it from this authority, or for this node, any more.
    private static func nilIfSuperseded<Value: Sendable>(
        _ record: () async throws(StoreError) -> Value
    ) async throws(StoreError) -> Value? {
        do {
            return try await record()
        } catch {
            guard error == .superseded else { throw error }
            return nil
        }
    }

    private func catchUp(_ node: NodeName?) async throws(Denial) {
        do throws(AuthorityError) {
            try await reload()
            if let node { try await refresh([node]) }
        } catch {
            throw .notReady("\(error)")
        }
        guard let node else { return }
        guard let known = state.withLock({ $0.nodes[node] }) else { throw .notAttested("node \(node)") }
        if known.banned { throw .banned(node) }
    }
}
