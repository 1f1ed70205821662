public import FoundationEssentials
public import SPIFFE

/// Which identities are wanted, held and being asked for, and what is to be done next: a value without I/O.
///
/// For one identity there is never more than one request under way, and for all together never more than `concurrencyMax`.
public struct IdentityLedger: Sendable {
    public static let concurrencyMax = 8
    /// Within which time what depends on a tainted authority is renewed: not everything of every node at once.
    public static let taintSpread: Duration = .seconds(5)

    struct Entry: Sendable {
        /// The pods that hold the identity; the first is the one that is named when asking for it.
        var pods: [String]
        /// Pods that were named and denied since the last success.
        var deniedPods: Set<String> = []
        var schedule: RenewalSchedule?
        /// The keys that the SVID depends on.
        var signers: [String] = []
        var retry = RetrySchedule()
        var dueAt: Date
        var isRequesting = false
        var lastError: String?
        var generation: UInt64 = 0
    }

    /// One request to make now.
    public struct Request: Sendable, Equatable {
        public let identity: SPIFFEID
        public let podUID: String
        public let isFirst: Bool
    }

    private var entries: [SPIFFEID: Entry] = [:]
    private var tainted: Set<String> = []
    private var generation: UInt64 = 0

    public init() {}

    /// A pod wants the identity. Due at once if nobody held it.
    public mutating func hold(podUID: String, identity: SPIFFEID, now: Date) {
        guard var entry = entries[identity] else {
            entries[identity] = Entry(pods: [podUID], dueAt: now)
            return
        }
        guard !entry.pods.contains(where: { $0.utf8.elementsEqual(podUID.utf8) }) else { return }
        entry.pods.append(podUID)
        // A pod that can vouch for it may succeed where another was denied.
        if entry.schedule == nil, !entry.deniedPods.isEmpty { entry.dueAt = min(entry.dueAt, now) }
        entries[identity] = entry
    }

    /// The identities that nobody holds any more.
    public mutating func release(podUID: String) -> [SPIFFEID] {
        var abandoned: [SPIFFEID] = []
        for (identity, var entry) in entries {
            guard let index = entry.pods.firstIndex(where: { $0.utf8.elementsEqual(podUID.utf8) }) else { continue }
            entry.pods.remove(at: index)
            entry.deniedPods.remove(podUID)
            if entry.pods.isEmpty {
                abandoned.append(identity)
                entry.schedule = nil
            }
            // One that is being asked for stays until its answer is there: there is never a second request beside it.
            entries[identity] = entry.pods.isEmpty && !entry.isRequesting ? nil : entry
        }
        return abandoned.sorted()
    }

    /// The requests to start now; from here on they count as under way.
    public mutating func start(now: Date) -> [Request] {
        let underWay = entries.values.count { $0.isRequesting }
        let due = entries.filter { !$0.value.isRequesting && !$0.value.pods.isEmpty && $0.value.dueAt <= now }
        let first = due.sorted { Self.precedes($0, $1, now: now) }.prefix(max(0, Self.concurrencyMax - underWay))
        return first.map { identity, entry in
            entries[identity]?.isRequesting = true
            return Request(identity: identity, podUID: entry.pods[0], isFirst: entry.schedule == nil)
        }
    }

    /// When `start` is worth calling again, if nothing else happens; nil: never.
    public func nextDue() -> Date? {
        guard entries.values.count(where: \.isRequesting) < Self.concurrencyMax else { return nil }
        return entries.values.filter { !$0.isRequesting && !$0.pods.isEmpty }.map(\.dueAt).min()
    }

    /// From now on nothing should depend on these keys: what does is renewed within `taintSpread`, at a point that `draw` gives for
    /// each, uniform in 0..<1. It stays in use until it has been replaced.
    public mutating func taint(_ signers: Set<String>, now: Date, draw: () -> Double) {
        let new = signers.subtracting(tainted)
        tainted = signers
        for (identity, entry) in entries where !new.isDisjoint(with: entry.signers) {
            // Not later than it was due: a failed renewal is tried again in its own time.
            entries[identity]?.dueAt = min(entry.dueAt, Self.renewal(afterTaint: now, draw()))
        }
    }

    private static func renewal(afterTaint now: Date, _ draw: Double) -> Date {
        now.addingTimeInterval(taintSpread / .seconds(1) * min(max(draw, 0), 1))
    }

    /// The generation to publish it under; nil if nobody wants it any more. `notBefore` is when it was received: authorities date
    /// certificates back, some by more than they live.
    public mutating func succeeded(
        _ identity: SPIFFEID, notBefore: Date, notAfter: Date, signers: [String] = [], draw: Double
    ) -> UInt64? {
        guard var entry = finish(identity) else { return nil }
        let schedule = RenewalSchedule(notBefore: notBefore, notAfter: notAfter, draw: draw)
        generation += 1
        entry.schedule = schedule
        entry.signers = signers
        // Signed before the taint, and received after it.
        let isTainted = !tainted.isDisjoint(with: signers)
        entry.dueAt = isTainted ? min(schedule.renewAt, Self.renewal(afterTaint: notBefore, draw)) : schedule.renewAt
        entry.retry = RetrySchedule()
        entry.deniedPods = []
        entry.lastError = nil
        entry.generation = generation
        entries[identity] = entry
        return generation
    }

    /// What is held stays held until it expires; the next attempt is set by the kind of failure.
    public mutating func failed(
        _ request: Request, _ error: IssuanceError, now: Date, draw: Double
    ) {
        guard var entry = finish(request.identity) else { return }
        entry.lastError = error.message
        let delay: Duration
        switch error.kind {
        case .unreachable, .retry(after: nil):
            delay = entry.retry.next(draw: draw)
        case .retry(after: let least?):
            // What the authority asks for, and up to half as much again so that not all come back at once.
            let capped = min(least, .seconds(3600))
            _ = entry.retry.next(draw: draw)
            delay = max(RetrySchedule.delayMin, capped + capped / 2 * draw)
        case .denied:
            entry.deniedPods.insert(request.podUID)
            if let other = entry.pods.firstIndex(where: { !entry.deniedPods.contains($0) }) {
                entry.pods.swapAt(0, other)
                delay = RetrySchedule.delayMin
            } else {
                entry.deniedPods = []
                delay = entry.retry.nextAfterDenial(draw: draw)
            }
        }
        entry.dueAt = now.addingTimeInterval(delay / .seconds(1))
        entries[request.identity] = entry
    }

    public func statuses() -> [IdentityStatus] {
        entries.filter { !$0.value.pods.isEmpty }.map { identity, entry in
            IdentityStatus(
                identity: identity,
                pods: entry.pods.count,
                schedule: entry.schedule,
                generation: entry.generation,
                isRequesting: entry.isRequesting,
                nextAttempt: entry.dueAt,
                lastError: entry.lastError
            )
        }.sorted { $0.identity < $1.identity }
    }

    private mutating func finish(_ identity: SPIFFEID) -> Entry? {
        guard var entry = entries[identity] else { return nil }
        guard !entry.pods.isEmpty else {
            entries[identity] = nil
            return nil
        }
        entry.isRequesting = false
        return entry
    }

    /// First use and what has run out go before renewal; then whatever ends first; then whatever has waited longest.
    private static func precedes(
        _ left: (key: SPIFFEID, value: Entry), _ right: (key: SPIFFEID, value: Entry), now: Date
    ) -> Bool {
        func rank(_ entry: Entry) -> (Int, Date, Date) {
            guard let end = entry.schedule?.notAfter, end > now else { return (0, .distantPast, entry.dueAt) }
            return (1, end, entry.dueAt)
        }
        let (a, b) = (rank(left.value), rank(right.value))
        return a == b ? left.key < right.key : a < b
    }
}
