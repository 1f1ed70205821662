internal import FoundationEssentials
public import SPIFFE
internal import Synchronization

/// The node on whose behalf an SVID is asked for by the identity's name, as an adapter has proven it.
public enum IssuanceCaller: Sendable, Equatable, CustomStringConvertible {
    /// By the node's SVID.
    case attested(NodeCaller)
    /// By a token that names the node.
    case bearer(NodeName)

    public var description: String {
        switch self {
        case .attested(let node): node.description
        case .bearer(let node): "bearer for node \(node)"
        }
    }
}

extension CertificateAuthority {
    /// An SVID for `identity`, if a live pod of the caller's node has it: as Istio's proxies ask, who name no pod.
    ///
    /// `lifetime` is what the caller would like; it gets at most the configured one, and the audit trail shows both.
    public func issue(
        identity: SPIFFEID, csr: [UInt8], lifetime: Duration?, caller: IssuanceCaller
    ) async throws(Denial) -> IssuedSVID {
        do throws(Denial) {
            let now = clock()
            let node: NodeName
            switch caller {
            case .attested(let caller): node = try await attestedNode(caller, at: now, draining: .allowed)
            case .bearer(let name):
                try await introduce(name, at: now)
                try admit(name, at: now)
                node = name
            }
            let place = identity.workload
            let registered = place.flatMap { place in
                pods.pod(
                    on: node.description, namespace: place.namespace, serviceAccount: place.serviceAccount)
            }
            let pod = try IssuanceDecision.pod(with: identity, registered: registered, on: node, in: trustDomain)
            let (svid, _) = try await signAndRecord(for: node, .firstUse) { () throws(Denial) in
                let key = try acceptedKey(of: csr)
                try state.withLock { state throws(Denial) in try state.allowances[node]?.hold(identity, at: now) }
                return try sign(identity, key: key, podUID: pod.uid, node: node, now: now, lifetime: lifetime)
            } _: { svid async throws(StoreError) in
                try await issuanceLog.record([svid.record])
            }
            released(svid, wanted: now, lifetime: lifetime)
            return svid
        } catch {
            throw denied(error, caller: caller.description, subject: identity.description)
        }
    }

    /// Has the store know the node, so that it can be listed, banned and forgotten by its name, whatever its bearer shows.
    private func introduce(_ name: NodeName, at now: Date) async throws(Denial) {
        guard state.withLock({ $0.nodes[name] == nil }) else { return }
        let record = NodeRecord.bearer(name, try nodeIdentity(name), at: now)
        let stored = try await recorded { () async throws(StoreError) in try await store.introduce(record) }
        // Unless somebody was faster, who knows more.
        state.withLock { state in if state.nodes[name] == nil { state.nodes[name] = stored } }
    }

    /// The node that the bearer of a token, a join token or one of the platform's, speaks for.
    ///
    /// Whoever holds such a token could trade it for the node's SVID, and so may ask for what that would give. Good until the
    /// token expires or is traded; a node without a client certificate, such as Istio's ztunnel, can live on fresh ones. Failures
    /// count against `source`, a network address, as failed attestations do.
    public func node(bearing token: String, source: String) async throws(Denial) -> NodeName {
        let now = clock()
        do throws(Denial) {
            try state.withLock { state throws(Denial) in try state.attestation.check(source, at: now) }
            return try await proof(token, at: now).node
        } catch {
            if case .notReady = error {
            } else {
                state.withLock { state in
                    // The refusal is the answer already, whether or not there was still something to take.
                    try? state.attestation.take(from: source, at: now)
                }
            }
            throw denied(error, caller: source, subject: "bearer of a node's token")
        }
    }
}
