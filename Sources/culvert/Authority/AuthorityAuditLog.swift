import Authority
import FoundationEssentials
import Logging
import Synchronization

/// The audit trail as log lines: one per signature, denial and administrative act; `docs/audit.md` lists them.
///
/// Written whatever the log level is. Who asks too fast gets one line per second for all of it: a flood of requests must not become
/// a flood of lines.
final class AuthorityAuditLog: Sendable {
    private struct Flood {
        var lineAt: ContinuousClock.Instant?
        var unreported = 0
    }

    private let logger: Logger
    private let flood = Mutex(Flood())

    init(logger: Logger) {
        var logger = logger
        logger.logLevel = .info
        self.logger = logger
    }

    func record(_ event: AuditEvent) {
        var line = AuditLine(event)
        if case .denied(.rateLimited, _, _) = event {
            guard let denials = floodToReport() else { return }
            line.fields["denials"] = "\(denials)"
        }
        logger.log(level: line.level, "\(line.message)", metadata: line.fields)
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
}

/// One event as a line. The names in it are for programs: they do not change.
struct AuditLine {
    /// Of what a peer or an operator said, per field.
    static let charactersMax = 512

    let level: Logger.Level
    let message: String
    var fields: Logger.Metadata

    init(_ event: AuditEvent) {
        switch event {
        case .pluginAccepted(let id, let notAfter):
            self.init(
                .notice, "plugin_accepted", "Plug-in CA accepted",
                ["authority": "\(id)", "notAfter": Self.time(notAfter)])
        case .pluginRefused(let flaw):
            self.init(
                .error, "plugin_refused", "Plug-in CA refused, the one in force goes on",
                ["reason": "\(flaw)", "hint": flaw.hint])
        case .pluginWaits(let id, let nodes):
            self.init(
                .notice, "plugin_waits", "The next plug-in CA waits for nodes to have its root",
                [
                    "root": "\(id)", "nodes": "\(nodes.count)",
                    "first": nodes.prefix(5).map(\.description).joined(separator: ", "),
                ])
        case .authorityActivated(let id, let kind, let notAfter):
            self.init(
                .notice, "authority_activated", "Authority activated",
                ["authority": "\(id)", "kind": "\(kind)", "notAfter": Self.time(notAfter)])
        case .signed(let record, let clampedFrom):
            self.init(
                clampedFrom == nil ? .info : .warning, "svid_signed",
                clampedFrom == nil ? "SVID signed" : "SVID signed, cut short by its issuer's end",
                Self.fields(record, clampedFrom))
        case .minted(let record, let clampedFrom, let reason, let caller):
            self.init(.notice, "svid_minted", "SVID minted", Self.fields(record, clampedFrom), by: caller)
            fields["reason"] = "\(reason.prefix(Self.charactersMax))"
        case .rotated(let record, let caller):
            self.init(
                .notice, "rotation_step", "Authorities: \(record.step.word)",
                [
                    "position": "\(record.position)", "bundleSequence": "\(record.sequence)",
                    "authority": record.step.authority.map { "\($0)" }, "reason": record.reason.map { "\($0)" },
                    "notWaitedFor": record.override.map { "\($0.waivedWait)" },
                ], by: caller)
        case .nodesCutOff(let cutOff, let record):
            self.init(
                .warning, "nodes_cut_off", "Nodes were not waited for: they are cut off until they attest anew",
                [
                    "nodes": "\(cutOff.count)", "names": cutOff.names.joined(separator: ", "),
                    "step": "\(record.position)", "authority": record.step.authority.map { "\($0)" },
                    "notWaitedFor": record.override.map { "\($0.waivedWait)" },
                    "reason": record.reason.map { "\($0)" },
                ])
        case .rotationRefused(let command, let refusal, let caller):
            self.init(
                .warning, "rotation_refused", "Authorities: command refused",
                ["command": "\(command)", "reason": "\(refusal)"], by: caller)
        case .denied(let denial, let caller, let subject):
            self.init(
                .warning, "request_denied", "Request denied",
                ["caller": caller, "subject": subject, "reason": "\(denial)", "retryAfter": Self.retry(denial)])
        case .tokenCreated(let node, let expiresAt, let caller):
            self.init(
                .notice, "token_created", "Join token created",
                ["node": "\(node)", "expiresAt": Self.time(expiresAt)], by: caller)
        case .nodeAttested(let node, let source):
            self.init(.notice, "node_attested", "Node attested", ["node": "\(node)", "from": source])
        case .nodeRenewedAfterExpiry(let node, let serial, let expiredAt):
            self.init(
                .notice, "node_renewed_after_expiry", "Node renewed after expiry",
                ["node": "\(node)", "shown": serial, "expired": Self.time(expiredAt)])
        case .cloneSeen(let node, let serial, let inUse):
            self.init(
                .error, "node_clone_seen",
                "Two hold this node's identity: one of them shows an SVID that the other has replaced",
                ["node": "\(node)", "serial": serial, "serialInUse": inUse])
        case .nodeBanned(let node, let reason, let caller):
            self.init(.notice, "node_banned", "Node banned", ["node": "\(node)", "reason": reason], by: caller)
        case .nodeUnbanned(let node, let reason, let caller):
            self.init(.notice, "node_unbanned", "Node unbanned", ["node": "\(node)", "reason": reason], by: caller)
        case .nodeEvicted(let node, let reason, let caller):
            self.init(.notice, "node_evicted", "Node evicted", ["node": "\(node)", "reason": reason], by: caller)
        case .acknowledgedFuture(let node, let sequence, let current):
            self.init(
                .error, "bundle_from_future",
                "A node holds a newer bundle than this authority: the data directory is an old copy",
                ["node": "\(node)", "acknowledged": "\(sequence)", "current": "\(current)"])
        }
    }

    /// Fields that are nil are left out.
    private init(
        _ level: Logger.Level, _ event: String, _ message: String, _ fields: KeyValuePairs<String, String?>,
        by caller: AdminCaller? = nil
    ) {
        self.level = level
        self.message = message
        self.fields = ["event": "\(event)"]
        for (name, value) in fields {
            if let value { self.fields[name] = .string(Self.bounded(value)) }
        }
        guard let caller else { return }
        if let id = caller.id {
            self.fields["adminID"] = "\(id)"
        } else {
            self.fields["adminUID"] = "\(caller.uid)"
            self.fields["adminPID"] = "\(caller.pid)"
        }
    }

    private static func fields(
        _ record: IssuanceRecord, _ clampedFrom: Date?
    ) -> KeyValuePairs<String, String?> {
        [
            "spiffeID": "\(record.id)", "serial": record.serial, "authority": "\(record.authority)",
            "notAfter": time(record.notAfter), "podUID": record.podUID, "node": record.node.map { "\($0)" },
            "clampedFrom": clampedFrom.map(time),
        ]
    }

    private static func bounded(_ value: String) -> String {
        value.utf8.count <= charactersMax ? value : String(value.prefix(charactersMax))
    }

    private static func retry(_ denial: Denial) -> String? {
        guard case .retry(let after) = denial.remedy else { return nil }
        return "\(after)"
    }

    private static func time(_ date: Date) -> String { date.formatted(.iso8601) }
}
