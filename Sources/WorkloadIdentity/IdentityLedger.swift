public import FoundationEssentials
public import SPIFFE

/// Which identities are wanted, held and being asked for, and what is to be done next: a value without I/O.
///
/// For one identity there is never more than one request under way, and for all together never more than `concurrencyMax`. What
/// connections wait for goes before renewals, and among these what ends first. When the authority says that it has too much to do,
/// nothing at all is asked for until the time that it names.
public struct IdentityLedger: Sendable {
    public static let concurrencyMax = 8
    /// Within which time what depends on a tainted authority is renewed: not everything of every node at once.
    public static let taintSpread: Duration = .seconds(5)
    /// Of what the authority can ask for with `slowDown`; half as much again may be added by chance.
    static let pauseMax: Duration = .seconds(300)
    static let pauseMin: Duration = .milliseconds(50)

    struct Entry: Sendable {
        /// The pods that hold the identity; the first is the one that is named when asking for it.
        var pods: [String]
        /// Pods that were named and denied since the last success.
        var deniedPods: Set<String> = []
        /// Pods of which the authority says that they are over: never named again.
        var endedPods: Set<String> = []
        var schedule: RenewalSchedule?
        /// The keys that the SVID depends on.
        var signers: [String] = []
        var retry = RetrySchedule()
        /// `.distantFuture` while nobody is left in whose name it could be asked for.
        var dueAt: Date
        var isRequesting = false
        var lastError: String?
        var generation: UInt64 = 0
        /// Of the place in the queues that counts; earlier ones are passed over.
        var place: UInt64 = 0
    }

    /// One request to make now.
    public struct Request: Sendable, Equatable {
        public let identity: SPIFFEID
        public let podUID: String
        public let isFirst: Bool
        public let urgency: IssuanceUrgency
    }

    private struct Upcoming: Comparable, Sendable {
        let dueAt: Date
        let identity: SPIFFEID
        let place: UInt64

        static func < (lhs: Self, rhs: Self) -> Bool { lhs.dueAt < rhs.dueAt }
    }

    private struct Ready: Comparable, Sendable {
        let urgency: IssuanceUrgency
        /// Of what is held.
        let end: Date
        let dueAt: Date
        let identity: SPIFFEID
        let place: UInt64

        static func < (lhs: Self, rhs: Self) -> Bool {
            if lhs.urgency != rhs.urgency { return lhs.urgency > rhs.urgency }
            if lhs.end != rhs.end { return lhs.end < rhs.end }
            return lhs.dueAt == rhs.dueAt ? lhs.identity < rhs.identity : lhs.dueAt < rhs.dueAt
        }
    }

    private var entries: [SPIFFEID: Entry] = [:]
    private var tainted: Set<String> = []
    private var upcoming = DueQueue<Upcoming>()
    private var ready = DueQueue<Ready>()
    private var underWay = 0
    private var generation: UInt64 = 0
    private var place: UInt64 = 0
    private var pausedUntil: Date?
    private var pace = RetrySchedule()

    public init() {}

    /// A pod wants the identity. Due at once if nobody held it.
    public mutating func hold(podUID: String, identity: SPIFFEID, now: Date) {
        guard var entry = entries[identity] else {
            enqueue(Entry(pods: [podUID], dueAt: now), identity)
            return
        }
        guard !entry.pods.contains(where: { $0.utf8.elementsEqual(podUID.utf8) }) else { return }
        entry.pods.append(podUID)
        // A pod that can vouch for it may succeed where another was denied.
        let isFirstDenied = entry.schedule == nil && !entry.deniedPods.isEmpty
        if isFirstDenied || entry.dueAt == .distantFuture { entry.dueAt = min(entry.dueAt, now) }
        enqueue(entry, identity)
    }

    /// The identities that nobody holds any more.
    public mutating func release(podUID: String) -> [SPIFFEID] {
        var abandoned: [SPIFFEID] = []
        for (identity, var entry) in entries {
            guard let index = entry.pods.firstIndex(where: { $0.utf8.elementsEqual(podUID.utf8) }) else { continue }
            entry.pods.remove(at: index)
            entry.deniedPods.remove(podUID)
            entry.endedPods.remove(podUID)
            if entry.pods.isEmpty {
                abandoned.append(identity)
                entry.schedule = nil
            }
            // One that is being asked for stays until its answer is there: there is never a second request beside it.
            entries[identity] = entry.pods.isEmpty && !entry.isRequesting ? nil : entry
        }
        trim()
        return abandoned.sorted()
    }

    /// The requests to start now; from here on they count as under way.
    public mutating func start(now: Date) -> [Request] {
        defer { trim() }
        if let until = pausedUntil {
            // A pause that is longer than any pause: the clock was set back.
            let isLost = until.timeIntervalSince(now) > Self.pauseMax * 1.5 / .seconds(1)
            guard until <= now || isLost else { return [] }
            pausedUntil = nil
        }
        admitDue(now: now)
        var requests: [Request] = []
        while underWay < Self.concurrencyMax, let next = ready.pop() {
            guard let entry = entries[next.identity], entry.place == next.place, !entry.isRequesting,
                let pod = entry.pods.first(where: { !entry.endedPods.contains($0) })
            else { continue }
            entries[next.identity]?.isRequesting = true
            underWay += 1
            requests.append(
                Request(
                    identity: next.identity, podUID: pod, isFirst: entry.schedule == nil,
                    urgency: Self.urgency(entry, now: now)))
        }
        return requests
    }

    /// When `start` is worth calling again, if nothing else happens; nil: never.
    public func nextDue() -> Date? {
        guard underWay < Self.concurrencyMax else { return nil }
        guard let due = ready.first?.dueAt ?? upcoming.first?.dueAt else { return nil }
        return pausedUntil.map { max($0, due) } ?? due
    }

    /// From now on nothing should depend on these keys: what does is renewed within `taintSpread`, at a point that `draw` gives for
    /// each, uniform in 0..<1. It stays in use until it has been replaced.
    public mutating func taint(_ signers: Set<String>, now: Date, draw: () -> Double) {
        let new = signers.subtracting(tainted)
        tainted = signers
        for (identity, var entry) in entries where !new.isDisjoint(with: entry.signers) {
            // Not later than it was due: a failed renewal is tried again in its own time.
            entry.dueAt = min(entry.dueAt, Self.renewal(afterTaint: now, draw()))
            enqueue(entry, identity)
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
        pace = RetrySchedule()
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
        enqueue(entry, identity)
        return generation
    }

    /// What is held stays held until it expires; the next attempt is set by the kind of failure.
    public mutating func failed(
        _ request: Request, _ error: IssuanceError, now: Date, draw: Double
    ) {
        // Even if nobody wants the identity any more: the pause is for all.
        if case .slowDown(let least) = error.kind { pause(least, now: now, draw: draw) }
        guard var entry = finish(request.identity) else { return }
        entry.lastError = error.message
        switch error.kind {
        case .unreachable, .attestAgain, .retry(after: nil):
            entry.dueAt = now + entry.retry.next(draw: draw)
        case .retry(after: let least?):
            // What the authority asks for, and up to half as much again so that not all come back at once.
            let capped = min(least, .seconds(3600))
            _ = entry.retry.next(draw: draw)
            entry.dueAt = now + max(RetrySchedule.delayMin, capped + capped / 2 * draw)
        case .slowDown:
            // It keeps its place among the others.
            break
        case .ended:
            entry.endedPods.insert(request.podUID)
            let others = entry.pods.contains { !entry.endedPods.contains($0) }
            entry.dueAt = others ? now + RetrySchedule.delayMin : .distantFuture
        case .denied:
            entry.deniedPods.insert(request.podUID)
            let other = entry.pods.firstIndex { !entry.deniedPods.contains($0) && !entry.endedPods.contains($0) }
            if let other {
                entry.pods.swapAt(0, other)
                entry.dueAt = now + RetrySchedule.delayMin
            } else {
                entry.deniedPods = []
                entry.dueAt = now + entry.retry.nextAfterDenial(draw: draw)
            }
        }
        enqueue(entry, request.identity)
    }

    public func statuses() -> [IdentityStatus] {
        entries.keys.compactMap(status).sorted { $0.identity < $1.identity }
    }

    /// nil if nobody holds it.
    public func status(of identity: SPIFFEID) -> IdentityStatus? {
        guard let entry = entries[identity], !entry.pods.isEmpty else { return nil }
        return IdentityStatus(
            identity: identity,
            pods: entry.pods.count,
            schedule: entry.schedule,
            generation: entry.generation,
            isRequesting: entry.isRequesting,
            nextAttempt: pausedUntil.map { max($0, entry.dueAt) } ?? entry.dueAt,
            lastError: entry.lastError
        )
    }

    // MARK: Queues

    private mutating func pause(_ least: Duration?, now: Date, draw: Double) {
        let delay: Duration
        if let least {
            let capped = min(max(least, Self.pauseMin), Self.pauseMax)
            delay = capped + capped / 2 * draw
        } else {
            delay = pace.next(draw: draw)
        }
        // Others that were under way say the same: the last word counts.
        pausedUntil = now + delay
    }

    private mutating func enqueue(_ entry: Entry, _ identity: SPIFFEID) {
        place += 1
        entries[identity] = entry
        entries[identity]?.place = place
        defer { trim() }
        guard !entry.isRequesting, entry.dueAt != .distantFuture else { return }
        upcoming.push(Upcoming(dueAt: entry.dueAt, identity: identity, place: place))
        guard upcoming.items.count > 2 * entries.count + 64 else { return }
        let entries = entries
        upcoming.removeAll { entries[$0.identity]?.place != $0.place }
    }

    /// What is on top of a queue counts.
    private mutating func trim() {
        while let first = ready.first, !isCurrent(first.identity, first.place) { ready.pop() }
        while let first = upcoming.first, !isCurrent(first.identity, first.place) { upcoming.pop() }
    }

    private mutating func admitDue(now: Date) {
        while let first = upcoming.first, first.dueAt <= now {
            upcoming.pop()
            guard isCurrent(first.identity, first.place), let entry = entries[first.identity] else { continue }
            ready.push(
                Ready(
                    urgency: Self.urgency(entry, now: now), end: entry.schedule?.notAfter ?? .distantPast,
                    dueAt: entry.dueAt, identity: first.identity, place: first.place))
        }
    }

    private func isCurrent(_ identity: SPIFFEID, _ place: UInt64) -> Bool {
        guard let entry = entries[identity] else { return false }
        return entry.place == place && !entry.isRequesting && !entry.pods.isEmpty
    }

    private mutating func finish(_ identity: SPIFFEID) -> Entry? {
        guard var entry = entries[identity], entry.isRequesting else { return nil }
        underWay -= 1
        guard !entry.pods.isEmpty else {
            entries[identity] = nil
            return nil
        }
        entry.isRequesting = false
        return entry
    }

    /// Nothing that is asked for ahead of its time is here yet.
    private static func urgency(_ entry: Entry, now: Date) -> IssuanceUrgency {
        guard let end = entry.schedule?.notAfter, end > now else { return .firstUse }
        return .renewal
    }
}

extension Date {
    fileprivate static func + (date: Date, delay: Duration) -> Date { date.addingTimeInterval(delay / .seconds(1)) }
}
