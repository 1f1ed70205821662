import Authority
import FoundationEssentials
import Logging

/// The audit trail as log lines: one per signature, denial and administrative act.
struct AuthorityAuditLog: Sendable {
    let logger: Logger

    func record(_ event: AuditEvent) {
        switch event {
        case .authorityActivated(let id, let kind, let notAfter):
            logger.notice(
                "Authority activated", metadata: ["authority": "\(id)", "kind": "\(kind)", "notAfter": time(notAfter)])
        case .signed(let record, let clampedFrom):
            var metadata: Logger.Metadata = [
                "identity": "\(record.id)", "serial": "\(record.serial)", "authority": "\(record.authority)",
                "notAfter": time(record.notAfter),
            ]
            metadata["pod"] = record.podUID.map { "\($0)" }
            metadata["node"] = record.node.map { "\($0)" }
            metadata["clampedFrom"] = clampedFrom.map(time)
            logger.info("SVID signed", metadata: metadata)
        case .denied(let denial, let caller, let subject):
            logger.warning(
                "Request denied", metadata: ["caller": "\(caller)", "subject": "\(subject)", "reason": "\(denial)"])
        case .tokenCreated(let node, let expiresAt):
            logger.notice("Join token created", metadata: ["node": "\(node)", "expiresAt": time(expiresAt)])
        case .nodeAttested(let node, let source):
            logger.notice("Node attested", metadata: ["node": "\(node)", "from": "\(source)"])
        case .acknowledgedFuture(let node, let sequence, let current):
            logger.error(
                "A node holds a newer bundle than this authority: the data directory is an old copy",
                metadata: ["node": "\(node)", "acknowledged": "\(sequence)", "current": "\(current)"])
        }
    }

    private func time(_ date: Date) -> Logger.MetadataValue { "\(date.formatted(.iso8601))" }
}
