public import FoundationEssentials
public import SPIFFE
internal import Synchronization

extension CertificateAuthority {
    /// An SVID for the operator: for a debugging session, a probe, or a program outside the mesh. Its reason is kept.
    ///
    /// Of the request only the public key is taken. It never lives longer than a pod's would, however long was asked for: the drain
    /// of an authority waits for no leaf beyond that. Identities of Culvert itself and of other trust domains are refused.
    public func mint(
        _ id: SPIFFEID, csr: [UInt8], lifetime: Duration?, reason: String, by caller: AdminCaller = .thisProcess
    ) async throws(Denial) -> MintedSVID {
        do throws(Denial) {
            guard id.trustDomain == trustDomain else {
                throw .identityRefused("\(id) is not of trust domain \(trustDomain)")
            }
            guard !id.path.isEmpty else { throw .identityRefused("\(id) names the trust domain, not a workload") }
            guard !ReservedIdentity.contains(id) else { throw .identityRefused("\(id) is reserved for Culvert itself") }
            let now = clock()
            let most = configuration.lifetimes.leaf
            let wanted = lifetime.map { now.advanced(by: $0).inWholeSeconds }
            let (svid, _) = try await signAndRecord(for: nil) { () throws(Denial) in
                try sign(
                    id, key: acceptedKey(of: csr), podUID: nil, node: nil, now: now,
                    lifetime: min(lifetime ?? most, most))
            } _: { svid async throws(StoreError) in
                try await issuanceLog.record([svid.record])
            }
            let clampedFrom = count(svid, wanted: wanted ?? now.advanced(by: most).inWholeSeconds)
            audit(.minted(svid.record, clampedFrom: clampedFrom, reason: reason, by: caller))
            return MintedSVID(svid: svid, clampedFrom: clampedFrom)
        } catch {
            throw denied(error, caller: "the operator", subject: "\(id)")
        }
    }
}

/// What the operator gets.
public struct MintedSVID: Sendable {
    public let svid: IssuedSVID
    /// The end that was asked for, where a limit came first.
    public let clampedFrom: Date?
}
