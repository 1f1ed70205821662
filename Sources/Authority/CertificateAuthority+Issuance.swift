internal import FoundationEssentials
public import SPIFFE
internal import Synchronization
internal import X509

extension CertificateAuthority {
    /// An SVID for a pod of the calling node, which the transport has authenticated as `caller`.
    ///
    /// The identity is decided from the registered pod; of the request only the public key is taken.
    public func issue(
        podUID: String, csr: [UInt8], caller: NodeCaller, urgency: IssuanceUrgency = .firstUse
    ) async throws(Denial) -> IssuedSVID {
        let request = PodRequest(podUID: podUID, csr: csr, urgency: urgency)
        do throws(Denial) {
            let now = clock()
            let node = try await attestedNode(caller, at: now, draining: .allowed)
            return try await issueAlone(request, on: node, at: now)
        } catch {
            throw denied(error, caller: caller.description, subject: request.subject)
        }
    }

    /// When it is its turn, and once more if it was signed by an authority that has been replaced since.
    func issueAlone(_ request: PodRequest, on node: NodeName, at now: Date) async throws(Denial) -> IssuedSVID {
        _ = try identity(for: request, on: node)
        let (svid, _) = try await signAndRecord(for: node, request.urgency) { () throws(Denial) in
            try sign(request, on: node, at: now)
        } _: { svid async throws(StoreError) in
            try await issuanceLog.record([svid.record])
        }
        released(svid, wanted: now)
        return svid
    }

    func sign(_ request: PodRequest, on node: NodeName, at now: Date) throws(Denial) -> IssuedSVID {
        let id = try identity(for: request, on: node)
        let key = try acceptedKey(of: request.csr)
        try state.withLock { state throws(Denial) in try state.allowances[node]?.hold(id, at: now) }
        return try sign(id, key: key, podUID: request.podUID, node: node, now: now)
    }

    private func identity(for request: PodRequest, on node: NodeName) throws(Denial) -> SPIFFEID {
        try IssuanceDecision.identity(
            forPod: request.podUID, registered: pods.pod(uid: request.podUID), on: node, in: trustDomain)
    }

    /// A node's next SVID; its present one authenticates it, and stays good until the next one is first used.
    public func renewNode(csr: [UInt8], caller: NodeCaller) async throws(Denial) -> IssuedSVID {
        do throws(Denial) {
            let now = clock()
            let node = try await attestedNode(caller, at: now, draining: .refused)
            let (svid, stands) = try await signAndRecord(for: node, .renewal) { () throws(Denial) in
                try sign(caller.id, key: acceptedKey(of: csr), podUID: nil, node: node, now: now)
            } _: { svid async throws(StoreError) in
                try await store.renew(
                    NodeRenewal(node: node, presentedSerial: caller.serial, issuance: svid.record))
            }
            // Banned, forgotten or overtaken while this was being signed.
            guard stands else { throw .notAttested(caller.description) }
            state.withLock { state in
                state.nodes[node]?.nextSerial = svid.record.serial
                state.nodes[node]?.expiresAt = svid.record.notAfter
            }
            released(svid, wanted: now)
            return svid
        } catch {
            throw denied(error, caller: caller.description, subject: "node SVID")
        }
    }

    // MARK: Steps

    /// Takes one unit of the node's allowance, unless it is banned.
    func admit(_ node: NodeName, at now: Date) throws(Denial) {
        if state.withLock({ $0.nodes[node]?.banned ?? false }) { throw .banned(node) }
        try take(from: node, at: now)
    }

    func acceptedKey(of csr: [UInt8]) throws(Denial) -> CertifiableKey {
        let forbidden = state.withLock { Set($0.authorities.map(\.id)) }
        do {
            return try SigningRequestPolicy(forbidden: forbidden).acceptedKey(of: csr)
        } catch {
            throw .requestRefused(error)
        }
    }

    /// One leaf of so many, the first one among them, gets a second look, at its signature, too: a machine that computes wrongly is
    /// found soon, and signs no more.
    static let sampleInterval: UInt64 = 256

    /// Signs and inspects; nothing is recorded or released yet. `names` stand beside the ID, in DER; `lifetime` is cut to the configured one.
    func sign(
        _ id: SPIFFEID, key: CertifiableKey, podUID: String?, node: NodeName?, now: Date,
        names: [UInt8] = [], lifetime: Duration? = nil
    ) throws(Denial) -> IssuedSVID {
        let (signer, isSample) = state.withLock { state in
            defer { state.signatures += 1 }
            return (state.signer, state.signatures % Self.sampleInterval == 0)
        }
        guard now < signer.notAfter, now >= signer.certificate.notValidBefore else {
            throw .notReady(
                "its intermediate is valid from \(signer.certificate.notValidBefore.iso8601) to \(signer.notAfter.iso8601)"
            )
        }
        let validity = CertificateProfile.Validity(
            now: now, lifetime: min(lifetime ?? configuration.lifetimes.leaf, configuration.lifetimes.leaf),
            issuerNotAfter: signer.notAfter)
        let serial = CertificateProfile.serialNumber(random)
        let leaf: [UInt8]
        do {
            leaf = try signer.leaf(
                LeafContent(id: id, names: names, key: key, serial: serial, validity: validity), verified: isSample)
        } catch {
            throw .notReady("\(error)")
        }
        return IssuedSVID(
            id: id,
            chain: [leaf] + signer.presentedDER,
            record: IssuanceRecord(
                serial: hexadecimal(serial.bytes),
                id: id,
                podUID: podUID,
                node: node,
                notAfter: validity.notAfter,
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
