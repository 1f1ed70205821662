import Authority
import FoundationEssentials

/// What the authority could find wrong with itself, judged: a value without I/O. `AuthorityFacts` are gathered elsewhere.
struct AuthorityExamination: Equatable {
    enum Verdict: String, Codable, Sendable {
        case pass, warn, fail
    }

    struct Finding: Equatable, Sendable {
        /// Stable, for programs.
        let check: String
        let verdict: Verdict
        /// What was found.
        let detail: String
        /// What to do; empty when nothing.
        var remedy = ""
    }

    static let rootRemainingMin: TimeInterval = 60 * 86400
    /// Below this share of its life left, an intermediate should have been replaced: that is done at half of it.
    static let intermediateRemainingMin = 0.25
    static let diskFreeWarn: UInt64 = 256 << 20
    static let diskFreeFail: UInt64 = 16 << 20
    /// How far the newest record may lie ahead of the clock.
    static let clockTolerance: TimeInterval = 60
    /// So many nodes are named in a finding.
    static let namesMax = 10

    let findings: [Finding]

    init(_ facts: AuthorityFacts) {
        findings =
            [Self.signature(facts)] + Self.roots(facts) + Self.intermediates(facts) + [
                Self.leafLifetime(facts), Self.clock(facts), Self.acknowledgements(facts), Self.nodeLifetimes(facts),
                Self.bundleFile(facts),
            ] + facts.files.map(Self.file) + [Self.disk(facts), Self.maintenance(facts)]
    }

    private static func signature(_ facts: AuthorityFacts) -> Finding {
        guard let obstacle = facts.signatureObstacle else {
            return Finding(
                check: "signature", verdict: .pass, detail: "signed just now, and verified under the published bundle")
        }
        return Finding(
            check: "signature", verdict: .fail, detail: obstacle,
            remedy: "nothing is issued now: see the other findings, and the authority's log")
    }

    private static func roots(_ facts: AuthorityFacts) -> [Finding] {
        let roots = facts.authorities.filter { $0.kind == .root && $0.state != .revoked }
        guard roots.contains(where: { $0.state == .active }) else {
            return [
                Finding(
                    check: "root-lifetime", verdict: .fail, detail: "no root is active",
                    remedy: "culvert ca status, then culvert ca rotate")
            ]
        }
        return roots.map { root in
            let left = root.notAfter.timeIntervalSince(facts.now)
            let detail = "\(root.state.rawValue) root \(root.id) ends at \(time(root.notAfter)), in \(days(left))"
            guard root.state == .active || root.state == .prepared, left < rootRemainingMin else {
                return Finding(check: "root-lifetime", verdict: .pass, detail: detail)
            }
            // A root that was made for less than that is rotated by its own measure.
            let isShortLived = root.life < rootRemainingMin * 2
            guard left <= 0 || !isShortLived || left < root.life / 6 else {
                return Finding(check: "root-lifetime", verdict: .pass, detail: detail)
            }
            return Finding(
                check: "root-lifetime", verdict: left <= 0 ? .fail : .warn, detail: detail,
                remedy: "rotate it before that: culvert ca rotate")
        }
    }

    private static func intermediates(_ facts: AuthorityFacts) -> [Finding] {
        let active = facts.authorities.filter { $0.kind == .intermediate && $0.state == .active }
        guard !active.isEmpty else {
            return [
                Finding(
                    check: "intermediate-lifetime", verdict: .fail, detail: "no intermediate is active",
                    remedy: "see the authority's log: maintenance makes one")
            ]
        }
        return active.map { intermediate in
            let left = intermediate.notAfter.timeIntervalSince(facts.now)
            let detail =
                "active intermediate \(intermediate.id) ends at \(time(intermediate.notAfter)), in \(days(left))"
            guard left < intermediate.life * intermediateRemainingMin else {
                return Finding(check: "intermediate-lifetime", verdict: .pass, detail: detail)
            }
            return Finding(
                check: "intermediate-lifetime", verdict: left < facts.leafLifetime ? .fail : .warn, detail: detail,
                remedy:
                    "it should have been replaced at half of its life: see the authority's log for failed maintenance")
        }
    }

    private static func leafLifetime(_ facts: AuthorityFacts) -> Finding {
        let lives = facts.authorities.filter { $0.kind == .intermediate && $0.state == .active }.map(\.life)
        guard let shortest = lives.min(), shortest < facts.leafLifetime * 6 else {
            return Finding(
                check: "leaf-lifetime", verdict: .pass,
                detail: "SVIDs live \(days(facts.leafLifetime)), at most a sixth of their issuer's life")
        }
        return Finding(
            check: "leaf-lifetime", verdict: .warn,
            detail:
                "SVIDs live \(days(facts.leafLifetime)), which is more than a sixth of their issuer's \(days(shortest))",
            remedy:
                "give a shorter --leaf-ttl or a longer --intermediate-ttl: leaves are cut short at their issuer's end")
    }

    private static func clock(_ facts: AuthorityFacts) -> Finding {
        let early = facts.authorities.filter { $0.state == .active && $0.notBefore > facts.now }
        if let first = early.first {
            return Finding(
                check: "clock", verdict: .fail,
                detail:
                    "the clock says \(time(facts.now)), before authority \(first.id) begins (\(time(first.notBefore)))",
                remedy: "set the clock (NTP)")
        }
        if let newest = facts.newestRecord, newest > facts.now + clockTolerance {
            return Finding(
                check: "clock", verdict: .fail,
                detail:
                    "the clock says \(time(facts.now)), but the newest signature is of \(time(newest)): it has jumped back",
                remedy: "set the clock (NTP)")
        }
        return Finding(check: "clock", verdict: .pass, detail: "\(time(facts.now)), after everything that is recorded")
    }

    private static func acknowledgements(_ facts: AuthorityFacts) -> Finding {
        let live = facts.nodes.filter { !$0.isBanned && $0.expiresAt > facts.now }
        let lagging = live.filter { $0.acknowledged < facts.bundleSequence }
        guard !lagging.isEmpty else {
            return Finding(
                check: "node-acknowledgements", verdict: .pass,
                detail: "all \(live.count) live nodes verify with bundle \(facts.bundleSequence)")
        }
        return Finding(
            check: "node-acknowledgements", verdict: .warn,
            detail:
                "\(lagging.count) of \(live.count) live nodes do not verify with bundle \(facts.bundleSequence) yet: "
                + names(lagging),
            remedy: "see the proxy's log on these nodes; a rotation waits for them")
    }

    private static func nodeLifetimes(_ facts: AuthorityFacts) -> Finding {
        let expired = facts.nodes.filter { !$0.isBanned && $0.expiresAt <= facts.now }
        guard !expired.isEmpty else {
            return Finding(
                check: "node-certificates", verdict: .pass,
                detail: "no SVID of the \(facts.nodes.count) nodes has expired")
        }
        let beyond = expired.filter { facts.now > $0.expiresAt + facts.nodeGrace }
        return Finding(
            check: "node-certificates", verdict: .warn,
            detail: "the SVIDs of \(expired.count) nodes have expired, of \(beyond.count) for longer than the grace: "
                + names(expired),
            remedy:
                "nodes within the grace come back by themselves; the others need a new token (culvert ca token create), "
                + "and those that are gone for good can be evicted")
    }

    private static func bundleFile(_ facts: AuthorityFacts) -> Finding {
        switch facts.bundleFile {
        case .same:
            Finding(check: "bundle-file", verdict: .pass, detail: "\(facts.bundlePath) is the published bundle")
        case .different:
            Finding(
                check: "bundle-file", verdict: .fail, detail: "\(facts.bundlePath) is not the published bundle",
                remedy: "culvert ca bundle > FILE writes the published one; who changed the file?")
        case .unreadable(let reason):
            Finding(
                check: "bundle-file", verdict: .fail, detail: "\(facts.bundlePath): \(reason)",
                remedy: "culvert ca bundle > FILE writes the published one")
        }
    }

    private static func file(_ file: AuthorityFacts.File) -> Finding {
        let mode = "0" + String(file.mode, radix: 8)
        if let problem = file.problem {
            return Finding(
                check: file.check, verdict: .fail, detail: "\(file.path): \(problem)",
                remedy: "restore it from a backup")
        }
        guard file.mode & 0o077 & ~file.allowed == 0 else {
            return Finding(
                check: file.check, verdict: .fail,
                detail: "\(file.path) has mode \(mode): others than its owner may use it",
                remedy: "chmod \(file.repairMode) \(file.path); if others may have read a key, rotate")
        }
        guard file.isOurs else {
            return Finding(
                check: file.check, verdict: .fail,
                detail: "\(file.path) belongs to another user than the authority runs as",
                remedy: "chown it to the user that runs the authority")
        }
        return Finding(check: file.check, verdict: .pass, detail: "\(file.path) is its owner's alone (mode \(mode))")
    }

    private static func disk(_ facts: AuthorityFacts) -> Finding {
        guard let free = facts.diskFree else {
            return Finding(
                check: "disk-space", verdict: .warn, detail: "how much space is left cannot be found out",
                remedy: "look yourself: nothing is issued once the disk is full")
        }
        let detail = "\(free >> 20) MiB are free where the records are kept"
        guard free < diskFreeWarn else { return Finding(check: "disk-space", verdict: .pass, detail: detail) }
        return Finding(
            check: "disk-space", verdict: free < diskFreeFail ? .fail : .warn, detail: detail,
            remedy: "free some: nothing is issued once it is full")
    }

    private static func maintenance(_ facts: AuthorityFacts) -> Finding {
        guard facts.maintenance.consecutive > 0 else {
            return Finding(check: "maintenance", verdict: .pass, detail: "the last round got through")
        }
        return Finding(
            check: "maintenance",
            verdict: facts.maintenance.consecutive >= AuthorityHealth.maintenanceFailuresMax ? .fail : .warn,
            detail: "failed \(facts.maintenance.consecutive) times in a row: \(facts.maintenance.reason ?? "")",
            remedy: "what it says; it is tried again by itself")
    }

    // MARK: Words

    private static func names(_ nodes: [AuthorityFacts.Node]) -> String {
        let shown = nodes.map(\.name).sorted().prefix(namesMax).joined(separator: ", ")
        return nodes.count > namesMax ? "\(shown) and \(nodes.count - namesMax) more" : shown
    }

    private static func time(_ date: Date) -> String { date.formatted(.iso8601) }

    private static func days(_ seconds: TimeInterval) -> String {
        seconds <= 0 ? "the past" : CertificateOutput.duration(Int(seconds))
    }
}

/// What an examination judges by.
struct AuthorityFacts: Equatable {
    struct Issuer: Equatable {
        let id: String
        let kind: AuthorityRecord.Kind
        let state: AuthorityRecord.State
        let notBefore: Date
        let notAfter: Date

        var life: TimeInterval { notAfter.timeIntervalSince(notBefore) }
    }

    struct Node: Equatable {
        let name: String
        /// The bundle that it verifies with; 0: none yet.
        let acknowledged: UInt64
        let expiresAt: Date
        let isBanned: Bool
    }

    struct File: Equatable {
        let check: String
        let path: String
        /// Permission bits.
        let mode: UInt32
        /// What others than the owner may be allowed.
        var allowed: UInt32 = 0
        var repairMode = "600"
        let isOurs: Bool
        /// Why it could not be looked at.
        var problem: String?
    }

    enum BundleFile: Equatable {
        case same, different
        case unreadable(String)
    }

    var now: Date
    var bundleSequence: UInt64
    var authorities: [Issuer]
    /// In seconds, as is the grace.
    var leafLifetime: TimeInterval
    var nodeGrace: TimeInterval
    var nodes: [Node]
    var newestRecord: Date?
    var signatureObstacle: String?
    var maintenance: FailureStreak
    var bundlePath: String
    var bundleFile: BundleFile
    var files: [File]
    /// In bytes.
    var diskFree: UInt64?
}
