internal import FoundationEssentials
internal import SPIFFE
internal import Synchronization

extension CertificateAuthority {
    /// What a call says of an SVID whose successor has just been seen in use.
    enum DrainingSVID {
        case allowed, refused
        /// The call goes over a stream that was looked at when it began.
        case notAsked
    }

    /// The attested node behind `caller`, after one unit of its allowance.
    ///
    /// What is not known here is looked up in the store, where another replica may have put it.
    func attestedNode(
        _ caller: NodeCaller, at now: Date, draining: DrainingSVID
    ) async throws(Denial) -> NodeName {
        guard let node = NodeName(caller.id, of: trustDomain) else { throw .notAttested(caller.description) }
        try take(from: node, at: now)
        var standing = state.withLock { $0.standing(of: node, caller.serial, at: now, draining) }
        if standing == .unknown || standing == .superseded {
            try await refresh(node)
            standing = state.withLock { $0.standing(of: node, caller.serial, at: now, draining) }
        }
        switch standing {
        case .good: break
        case .unknown: throw .notAttested(caller.description)
        case .banned: throw .banned(node)
        case .first: try await promote(node, serial: caller.serial, at: now)
        case .superseded:
            try await markCloned(node, shown: caller.serial, at: now)
            throw .superseded(node)
        }
        return node
    }

    /// For a stream that has ended: throws if that was because the node lost its standing.
    public func checkStanding(of caller: NodeCaller) throws(Denial) {
        guard let node = NodeName(caller.id, of: trustDomain), let record = state.withLock({ $0.nodes[node] }) else {
            throw .notAttested(caller.description)
        }
        guard !record.banned else { throw .banned(node) }
    }

    func take(from node: NodeName, at now: Date) throws(Denial) {
        let memory = configuration.lifetimes.leaf
        let limits = configuration.limits
        try state.withLock { state throws(Denial) in
            var allowance = state.allowances[node] ?? NodeAllowance(limits, memory: memory, now: now)
            defer { state.allowances[node] = allowance }
            try allowance.take(at: now)
        }
    }

    private func refresh(_ node: NodeName) async throws(Denial) {
        let stored = try await recorded { () async throws(StoreError) in try await store.node(node) }
        state.withLock { $0.nodes[node] = stored }
    }

    private func promote(_ node: NodeName, serial: String, at now: Date) async throws(Denial) {
        try await recorded { () async throws(StoreError) in try await store.promote(node, serial: serial) }
        state.withLock { state in
            guard var record = state.nodes[node], record.nextSerial == serial else { return }
            state.draining[node] = (record.serial, now.advanced(by: PresentedSVID.drainTime))
            record.serial = serial
            record.nextSerial = nil
            state.nodes[node] = record
        }
    }

    /// One line and one write per minute at most: a copy that asks and asks must not become a flood.
    private func markCloned(_ node: NodeName, shown serial: String, at now: Date) async throws(Denial) {
        let inUse = state.withLock { state -> String? in
            if let void = state.voided[node], void.serials.contains(serial), now < void.until { return nil }
            guard let record = state.nodes[node], record.cloneSeenAt.map({ now >= $0.addingTimeInterval(60) }) ?? true
            else { return nil }
            state.nodes[node]?.cloneSeenAt = now.inWholeSeconds
            return record.serial
        }
        guard let inUse else { return }
        audit(.cloneSeen(node, serial: serial, inUse: inUse))
        try await recorded { () async throws(StoreError) in try await store.markCloned(node, at: now) }
    }

    /// All that attested here and were not forgotten, by name.
    public var nodes: [NodeRecord] { state.withLock { Array($0.nodes.values) }.sorted { $0.name < $1.name } }

    /// The newest signatures for a node and its pods, the newest first.
    public func signatures(for node: NodeName, limit: Int) async throws(StoreError) -> [IssuanceRecord] {
        try await store.issuances(for: node, limit: limit)
    }

    // MARK: The operator's acts

    /// The node gets nothing more and its bundle streams end; its leaves run out by themselves.
    public func ban(_ node: NodeName, reason: String, by caller: AdminCaller) async throws(NodeAdminError) {
        let ban = NodeBan(at: clock().inWholeSeconds, reason: reason)
        guard try await stored({ () async throws(StoreError) in try await store.setBan(ban, of: node) }) else {
            throw .unknown(node)
        }
        state.withLock { $0.nodes[node]?.ban = ban }
        bundle.finish(node)
        audit(.nodeBanned(node, reason: ban.reason, by: caller))
    }

    public func unban(_ node: NodeName, reason: String, by caller: AdminCaller) async throws(NodeAdminError) {
        guard try await stored({ () async throws(StoreError) in try await store.setBan(nil, of: node) }) else {
            throw .unknown(node)
        }
        state.withLock { $0.nodes[node]?.ban = nil }
        audit(.nodeUnbanned(node, reason: reason, by: caller))
    }

    /// Forgets the node and the tokens made for it: it attests again with a new one, or is gone.
    public func evict(_ node: NodeName, reason: String, by caller: AdminCaller) async throws(NodeAdminError) {
        guard try await stored({ () async throws(StoreError) in try await store.evict(node) }) else {
            throw .unknown(node)
        }
        state.withLock { state in
            state.void(node, until: .distantFuture)
            state.nodes[node] = nil
            state.allowances[node] = nil
            state.draining[node] = nil
        }
        bundle.finish(node)
        audit(.nodeEvicted(node, reason: reason, by: caller))
    }

    private func stored(_ write: () async throws(StoreError) -> Bool) async throws(NodeAdminError) -> Bool {
        do { return try await write() } catch { throw .store(error) }
    }
}

extension CertificateAuthority.State {
    enum Standing {
        case good, unknown, banned
        /// With the renewed SVID, for the first time.
        case first
        case superseded
    }

    /// What a node held before it attested anew, or was forgotten: calls with it that are under way are no copy's.
    mutating func void(_ node: NodeName, until: Date) {
        guard let record = nodes[node] else {
            voided[node]?.until = until
            return
        }
        voided[node] = (Set([record.serial, record.nextSerial].compactMap(\.self)), until)
    }

    func standing(
        of node: NodeName, _ serial: String, at now: Date, _ drain: CertificateAuthority.DrainingSVID
    ) -> Standing {
        guard let record = nodes[node] else { return .unknown }
        guard !record.banned else { return .banned }
        guard record.hasAttested else { return .unknown }
        if case .notAsked = drain { return .good }
        switch PresentedSVID(serial: serial, of: record) {
        case .current: return .good
        case .successor: return .first
        case .superseded:
            guard case .allowed = drain, let old = draining[node], now < old.until, old.serial == serial else {
                return .superseded
            }
            return .good
        }
    }
}

/// Why an act upon a node was not done.
public enum NodeAdminError: Error, Sendable, Equatable, CustomStringConvertible {
    case unknown(NodeName)
    case store(StoreError)

    public var description: String {
        switch self {
        case .unknown(let node): return "no node \(node) has attested here"
        case .store(let error): return "\(error)"
        }
    }
}
