import Authority
import FoundationEssentials
import Logging
import Synchronization

/// The audit trail as log lines: one per signature, denial and administrative act.
///
/// Who asks too fast gets one line per second for all of it: a flood of requests must not become a flood of lines.
final class AuthorityAuditLog: Sendable {
    private struct Flood {
        var lineAt: ContinuousClock.Instant?
        var unreported = 0
    }

    private let logger: Logger
    private let flood = Mutex(Flood())

    init(logger: Logger) { self.logger = logger }

    func record(_ event: AuditEvent) {
        switch event {
        case .pluginAccepted(let id, let notAfter):
            logger.notice("Plug-in CA accepted", metadata: ["authority": "\(id)", "notAfter": time(notAfter)])
        case .pluginRefused(let flaw):
            logger.error(
                "Plug-in CA refused, the one in force goes on",
                metadata: ["reason": "\(flaw)"].merging(flaw.hint.map { ["hint": "\($0)"] } ?? [:]) { $1 })
        case .pluginWaits(let id, let nodes):
            logger.notice(
                "The next plug-in CA waits for nodes to have its root",
                metadata: [
                    "root": "\(id)", "nodes": "\(nodes.count)",
                    "first": "\(nodes.prefix(5).map(\.description).joined(separator: ", "))",
                ])
        case .authorityActivated(let id, let kind, let notAfter):
            logger.notice(
                "Authority activated", metadata: ["authority": "\(id)", "kind": "\(kind)", "notAfter": time(notAfter)])
        case .rotated(let record):
            logger.notice("Authorities: \(record.step.word)", metadata: metadata(record))
        case .rotationRefused(let command, let refusal):
            logger.warning(
                "Authorities: command refused", metadata: ["command": "\(command)", "reason": "\(refusal)"])
        case .signed(let record, let clampedFrom):
            logger.info("SVID signed", metadata: metadata(of: record, clampedFrom))
        case .minted(let record, let clampedFrom, let reason):
            var metadata = metadata(of: record, clampedFrom)
            metadata["reason"] = "\(reason)"
            logger.notice("SVID minted", metadata: metadata)
        case .denied(.rateLimited(let retryAfter), let caller, let subject):
            guard let denials = floodToReport() else { return }
            logger.warning(
                "Requests denied for coming too fast",
                metadata: [
                    "denials": "\(denials)", "lastCaller": "\(caller)", "lastSubject": "\(subject)",
                    "retryAfter": "\(retryAfter)",
                ])
        case .denied(let denial, let caller, let subject):
            logger.warning(
                "Request denied", metadata: ["caller": "\(caller)", "subject": "\(subject)", "reason": "\(denial)"])
        case .tokenCreated(let node, let expiresAt):
            logger.notice("Join token created", metadata: ["node": "\(node)", "expiresAt": time(expiresAt)])
        case .nodeAttested(let node, let source):
            logger.notice("Node attested", metadata: ["node": "\(node)", "from": "\(source)"])
        case .nodeRenewedAfterExpiry(let node, let serial, let expiredAt):
            logger.notice(
                "Node renewed after expiry",
                metadata: ["node": "\(node)", "shown": "\(serial)", "expired": time(expiredAt)])
        case .acknowledgedFuture(let node, let sequence, let current):
            logger.error(
                "A node holds a newer bundle than this authority: the data directory is an old copy",
                metadata: ["node": "\(node)", "acknowledged": "\(sequence)", "current": "\(current)"])
        }
    }

    private func metadata(of record: IssuanceRecord, _ clampedFrom: Date?) -> Logger.Metadata {
        var metadata: Logger.Metadata = [
            "identity": "\(record.id)", "serial": "\(record.serial)", "authority": "\(record.authority)",
            "notAfter": time(record.notAfter),
        ]
        metadata["pod"] = record.podUID.map { "\($0)" }
        metadata["node"] = record.node.map { "\($0)" }
        metadata["clampedFrom"] = clampedFrom.map(time)
        return metadata
    }

    /// How many denials the line stands for; nil if it is too early for one.
    private func floodToReport() -> Int? {
        let now = ContinuousClock.now
        return flood.withLock { flood in
            flood.unreported += 1
            if let last = flood.lineAt, now - last < .seconds(1) { return nil }
            defer { flood = Flood(lineAt: now) }
            return flood.unreported
        }
    }

    private func metadata(_ record: RotationRecord) -> Logger.Metadata {
        var metadata: Logger.Metadata = ["position": "\(record.position)", "bundleSequence": "\(record.sequence)"]
        metadata["authority"] = record.step.authority.map { "\($0)" }
        metadata["reason"] = record.reason.map { "\($0)" }
        metadata["notWaitedFor"] = record.override.map { "\($0.waivedWait)" }
        return metadata
    }

    private func time(_ date: Date) -> Logger.MetadataValue { "\(date.formatted(.iso8601))" }
}
