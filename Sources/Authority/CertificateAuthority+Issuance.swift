internal import FoundationEssentials
public import SPIFFE
internal import Synchronization
internal import X509

extension CertificateAuthority {
    /// An SVID for a pod of the calling node, which the transport has authenticated as `caller`.
    ///
    /// The identity is decided from the registered pod; of the request only the public key is taken.
    public func issue(podUID: String, csr: [UInt8], caller: SPIFFEID) async throws(Denial) -> IssuedSVID {
        do throws(Denial) {
            let now = clock()
            let node = try attestedNode(caller, at: now)
            let id = try IssuanceDecision.identity(
                forPod: podUID, registered: pods.pod(uid: podUID), on: node, in: trustDomain)
            let key = try acceptedKey(of: csr)
            try state.withLock { state throws(Denial) in try state.allowances[node]?.hold(id, at: now) }
            let (svid, _) = try await signAndRecord(for: node) { () throws(Denial) in
                try sign(id, key: key, podUID: podUID, node: node, now: now)
            } _: { svid async throws(StoreError) in
                try await store.record([svid.record])
            }
            released(svid, wanted: now)
            return svid
        } catch {
            throw denied(error, caller: caller.description, subject: "pod \(podUID.prefix(128))")
        }
    }

    /// A node's next SVID; its present one authenticates it.
    public func renewNode(csr: [UInt8], caller: SPIFFEID) async throws(Denial) -> IssuedSVID {
        do throws(Denial) {
            let now = clock()
            let node = try attestedNode(caller, at: now)
            let key = try acceptedKey(of: csr)
            guard let present = state.withLock({ $0.nodes[node] }) else { throw .notAttested(caller.description) }
            let (svid, record) = try await signAndRecord(for: node) { () throws(Denial) in
                try sign(caller, key: key, podUID: nil, node: node, now: now)
            } _: { svid async throws(StoreError) in
                var record = present
                record.serial = svid.record.serial
                record.expiresAt = svid.record.notAfter
                try await store.renew(record, issuance: svid.record)
                return record
            }
            state.withLock { state in
                state.nodes[node]?.serial = record.serial
                state.nodes[node]?.expiresAt = record.expiresAt
            }
            released(svid, wanted: now)
            return svid
        } catch {
            throw denied(error, caller: caller.description, subject: "node SVID")
        }
    }

    // MARK: Steps

    /// The attested node behind `caller`, after one unit of its allowance.
    func attestedNode(_ caller: SPIFFEID, at now: Date) throws(Denial) -> NodeName {
        guard let node = NodeName(caller, of: trustDomain) else { throw .notAttested(caller.description) }
        guard state.withLock({ $0.nodes[node] != nil }) else { throw .notAttested(caller.description) }
        try admit(node, at: now)
        return node
    }

    /// Takes one unit of the node's allowance, unless it is banned.
    func admit(_ node: NodeName, at now: Date) throws(Denial) {
        let memory = configuration.lifetimes.leaf
        let limits = configuration.limits
        try state.withLock { state throws(Denial) in
            guard !(state.nodes[node]?.banned ?? false) else { throw .banned(node) }
            var allowance = state.allowances[node] ?? NodeAllowance(limits, memory: memory, now: now)
            defer { state.allowances[node] = allowance }
            try allowance.take(at: now)
        }
    }

    func acceptedKey(of csr: [UInt8]) throws(Denial) -> Certificate.PublicKey {
        let forbidden = state.withLock { Set($0.authorities.map(\.id)) }
        do {
            return try SigningRequestPolicy(forbidden: forbidden).acceptedKey(of: csr)
        } catch {
            throw .requestRefused(error)
        }
    }

    /// Signs and inspects; nothing is recorded or released yet. `names` stand beside the ID; `lifetime` is cut to the configured one.
    func sign(
        _ id: SPIFFEID, key: Certificate.PublicKey, podUID: String?, node: NodeName?, now: Date,
        names: [GeneralName] = [], lifetime: Duration? = nil
    ) throws(Denial) -> IssuedSVID {
        let signer = state.withLock { $0.signer }
        guard now < signer.notAfter, now >= signer.certificate.notValidBefore else {
            throw .notReady(
                "its intermediate is valid from \(signer.certificate.notValidBefore.iso8601) to \(signer.notAfter.iso8601)"
            )
        }
        let validity = CertificateProfile.Validity(
            now: now, lifetime: min(lifetime ?? configuration.lifetimes.leaf, configuration.lifetimes.leaf),
            issuerNotAfter: signer.notAfter)
        let certificate: Certificate
        do {
            certificate = try CertificateProfile.leaf(
                key: key,
                id: id,
                names: names,
                serial: CertificateProfile.serialNumber(random),
                validity: validity,
                issuer: signer
            )
            try CertificateInspection.checkLeaf(
                certificate, id: id, key: key, validity: validity, issuer: signer.certificate)
        } catch {
            throw .notReady("\(error)")
        }
        return IssuedSVID(
            id: id,
            certificates: [certificate] + signer.presented,
            record: IssuanceRecord(
                serial: hexadecimal(certificate.serialNumber.bytes),
                id: id,
                podUID: podUID,
                node: node,
                notAfter: certificate.notValidAfter,
                authority: signer.id,
                issuedAt: now.inWholeSeconds
            )
        )
    }

    func recorded<Value: Sendable>(
        _ write: () async throws(StoreError) -> Value
    ) async throws(Denial) -> Value {
        do {
            return try await write()
        } catch {
            state.withLock { $0.counters.storeErrors += 1 }
            throw .notReady("\(error)")
        }
    }

    /// Counts and reports a signature that leaves; `wanted` is the time from which its full lifetime would have run: that asked
    /// for, or else the configured one.
    func released(_ svid: IssuedSVID, wanted now: Date, lifetime: Duration? = nil) {
        let wanted = now.advanced(by: lifetime ?? configuration.lifetimes.leaf).inWholeSeconds
        audit(.signed(svid.record, clampedFrom: count(svid, wanted: wanted)))
    }

    /// `wanted` if the SVID ends before.
    func count(_ svid: IssuedSVID, wanted: Date) -> Date? {
        let clampedFrom = svid.notAfter < wanted ? wanted : nil
        state.withLock { state in
            state.counters.signed += 1
            if clampedFrom != nil { state.counters.clamped += 1 }
        }
        return clampedFrom
    }
}
