public import FoundationEssentials
public import SPIFFE
internal import Synchronization

extension CertificateAuthority {
    /// A token with which `node` can attest once within `lifetime`. Its text exists only here: the store keeps a digest.
    public func createJoinToken(
        node: NodeName, lifetime: Duration = .seconds(600), by caller: AdminCaller = .thisProcess
    ) async throws(JoinTokenError) -> (token: JoinToken, expiresAt: Date) {
        let most = configuration.limits.tokenLifetimeMax
        guard lifetime >= .seconds(1), lifetime <= most else { throw .lifetime(lifetime, most: most) }
        guard state.withLock({ !($0.nodes[node]?.banned ?? false) }) else { throw .banned(node) }
        let now = clock()
        let token = JoinToken(random: random)
        let expiresAt = now.advanced(by: lifetime).inWholeSeconds
        do {
            try await store.add(
                JoinTokenRecord(digest: token.digest, node: node, createdAt: now.inWholeSeconds, expiresAt: expiresAt))
        } catch {
            throw .store(error)
        }
        audit(.tokenCreated(node, expiresAt: expiresAt, by: caller))
        return (token, expiresAt)
    }

    /// Trades a token for the node's first SVID: a join token, or one of the platform's where it is asked. `source` is the caller's network
    /// address, for limits and the audit trail.
    ///
    /// Signs first and then uses a join token up in the same transaction that records node and signature: of concurrent attempts one
    /// wins, and a failure before that point leaves the token good.
    public func attestNode(token: String, csr: [UInt8], source: String) async throws(Denial) -> IssuedSVID {
        do throws(Denial) {
            let now = clock()
            try state.withLock { state throws(Denial) in try state.attestation.take(from: source, at: now) }
            let (node, digest) = try await proof(token, at: now)
            if state.withLock({ $0.nodes[node]?.banned ?? false }) { throw .banned(node) }
            let id = try nodeIdentity(node)
            let (svid, (record, outcome)) = try await signAndRecord(for: nil, .firstUse) { () throws(Denial) in
                try sign(id, key: acceptedKey(of: csr), podUID: nil, node: node, now: now)
            } _: { svid async throws(StoreError) in
                let record = NodeRecord(
                    name: node, id: id, attestedAt: now.inWholeSeconds, serial: svid.record.serial,
                    expiresAt: svid.record.notAfter)
                let admission = NodeAdmission(tokenDigest: digest, node: record, issuance: svid.record)
                return (record, try await store.admit(admission))
            }
            switch outcome {
            case .admitted: break
            case .alreadyUsed: throw Denial.tokenUsed
            case .banned: throw Denial.banned(node)
            }
            state.withLock { state in
                state.void(node, until: now.advanced(by: PresentedSVID.drainTime))
                var record = record
                record.acknowledgement = state.nodes[node]?.acknowledgement
                state.nodes[node] = record
                state.draining[node] = nil
            }
            audit(.nodeAttested(node, from: source))
            released(svid, wanted: now)
            return svid
        } catch {
            throw denied(error, caller: source, subject: "node attestation")
        }
    }

    /// The node that a token speaks for, with the digest of a join token.
    func proof(_ token: String, at now: Date) async throws(Denial) -> (node: NodeName, digest: [UInt8]?) {
        guard let digest = JoinToken.digest(of: token) else {
            guard let reviewer = configuration.nodeTokens else { throw .tokenUnknown }
            return (try await reviewer.node(bearing: token), nil)
        }
        let found = try await recorded { () async throws(StoreError) in
            try await store.joinToken(digest: digest)
        }
        guard let record = found else { throw .tokenUnknown }
        try record.check(at: now)
        return (record.node, digest)
    }

    /// Records which bundle a node verifies peers with and what leaves it holds.
    public func acknowledge(
        sequence: UInt64, version: String, leaves: [NodeAcknowledgement.Leaves], caller: NodeCaller
    ) async throws(Denial) {
        do throws(Denial) {
            let now = clock()
            // Which SVID it holds was looked at when its stream began.
            let node = try await attestedNode(caller, at: now, draining: .notAsked)
            let current = bundle.current.sequence
            guard sequence <= current else {
                state.withLock { $0.ahead = (node, sequence) }
                audit(.acknowledgedFuture(node, sequence: sequence, current: current))
                return
            }
            let acknowledgement = NodeAcknowledgement(sequence: sequence, version: version, leaves: leaves, at: now)
            try await recorded { () async throws(StoreError) in
                try await store.acknowledge(acknowledgement, by: node)
            }
            let isAwaited = state.withLock { state in
                state.nodes[node]?.acknowledgement = acknowledgement
                if state.ahead?.node == node { state.ahead = nil }
                return state.plugin?.next != nil || state.awaited.contains(node)
            }
            if isAwaited { wakeUps.continuation.yield() }
        } catch {
            throw denied(error, caller: caller.description, subject: "bundle acknowledgement")
        }
    }

    /// The trust bundle now and whenever it changes, for one of this authority's nodes; ends when the node loses its standing.
    public func bundleUpdates(for caller: NodeCaller) async throws(Denial) -> AsyncStream<TrustBundle> {
        do throws(Denial) {
            let node = try await attestedNode(caller, at: clock(), draining: .allowed)
            let updates = try bundle.updates(for: node)
            // Banned between the two: whoever banned it has not seen this stream.
            try checkStanding(of: caller)
            return updates
        } catch {
            throw denied(error, caller: caller.description, subject: "bundle stream")
        }
    }

    func nodeIdentity(_ node: NodeName) throws(Denial) -> SPIFFEID {
        do {
            return try ReservedIdentity.node(node, of: trustDomain)
        } catch {
            throw .identityRefused("node \(node) cannot be named: \(error)")
        }
    }
}

/// Why no join token was made.
public enum JoinTokenError: Error, Sendable, Equatable, CustomStringConvertible {
    case lifetime(Duration, most: Duration)
    case banned(NodeName)
    case store(StoreError)

    public var description: String {
        switch self {
        case .lifetime(let lifetime, let most):
            return "a join token lives 1s to \(most.inWords), not \(lifetime.inWords)"
        case .banned(let node): return "node \(node) is banned: “culvert node unban \(node)” first"
        case .store(let error): return "\(error)"
        }
    }
}
