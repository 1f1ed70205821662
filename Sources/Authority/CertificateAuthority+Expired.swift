public import FoundationEssentials
public import SPIFFE
internal import Synchronization

extension CertificateAuthority {
    /// Renews a node's SVID after its end: the authority was away for longer than it lived, or the node was.
    ///
    /// The transport has verified it as it was at its last moment, and that the caller holds its key. It counts only within the grace, and
    /// only if it is the node's last one: an older one is a copy, or was restored from a backup. A banned or forgotten node gets nothing.
    public func renewExpiredNode(
        csr: [UInt8], caller: SPIFFEID, serial: String, expiredAt: Date
    ) async throws(Denial) -> IssuedSVID {
        let node: NodeName
        do throws(Denial) {
            let now = clock()
            guard let name = NodeName(caller, of: trustDomain), let record = state.withLock({ $0.nodes[name] }) else {
                throw .notAttested(caller.description)
            }
            let grace = configuration.nodeGrace
            guard now <= expiredAt.advanced(by: grace) else { throw .expired(name, at: expiredAt, grace: grace) }
            guard record.serial.utf8.elementsEqual(serial.utf8) else {
                throw .notAttested("\(caller) with an old SVID")
            }
            node = name
        } catch {
            throw denied(error, caller: caller.description, subject: "expired node SVID")
        }
        let svid = try await renewNode(csr: csr, caller: caller)
        audit(.nodeRenewedAfterExpiry(node, serial: serial, expiredAt: expiredAt))
        return svid
    }
}
