public import FoundationEssentials
internal import SPIFFE

extension CertificateAuthority {
    /// Renews a node's SVID after its end: the authority was away for longer than it lived, or the node was.
    ///
    /// The transport has verified it as it was at its last moment, and that the caller holds its key. It counts only within the grace, and
    /// only if it is the node's last one: an older one is a copy, or was restored from a backup. A banned or forgotten node gets nothing.
    public func renewExpiredNode(
        csr: [UInt8], caller: NodeCaller, expiredAt: Date
    ) async throws(Denial) -> IssuedSVID {
        let node: NodeName
        do throws(Denial) {
            guard let name = NodeName(caller.id, of: trustDomain) else { throw .notAttested(caller.description) }
            let grace = configuration.nodeGrace
            guard clock() <= expiredAt.advanced(by: grace) else { throw .expired(name, at: expiredAt, grace: grace) }
            node = name
        } catch {
            throw denied(error, caller: caller.description, subject: "expired node SVID")
        }
        let svid = try await renewNode(csr: csr, caller: caller)
        audit(.nodeRenewedAfterExpiry(node, serial: caller.serial, expiredAt: expiredAt))
        return svid
    }
}
