/// What the API server is still to be told of this node's pods: the newest status of each, until it has taken it.
///
/// A value without I/O. It holds one entry for each pod of the node, so it does not grow beyond those; how fast it is emptied is its
/// caller's affair.
struct PodStatusQueue {
    /// A pod as the API knows it.
    struct Subject: Hashable, Sendable {
        let uid: String
        let namespace: String
        let name: String
    }

    struct Write: Hashable, Sendable {
        let subject: Subject
        /// nil takes the annotation away.
        let status: PodEnrolmentStatus?
        /// What the server has taken before; nil for nothing, or for what an earlier agent told it.
        let before: PodEnrolmentStatus?
    }

    enum Outcome: Hashable, Sendable {
        case taken
        /// The pod is no more, or another one has its name.
        case gone
        case failed
    }

    private enum Told: Hashable {
        case nothing
        case status(PodEnrolmentStatus?)
    }

    private struct Entry {
        let subject: Subject
        var due: PodEnrolmentStatus?
        var told = Told.nothing
        var failures = 0
        var notBefore: ContinuousClock.Instant?
        var isInFlight = false

        var isDue: Bool { told != .status(due) }
    }

    private static let backoffMin = Duration.milliseconds(500)
    private static let backoffMax = Duration.seconds(30)

    private var entries: [String: Entry] = [:]

    /// `statuses` are those of all pods that have one now; `annotated` are pods of this node on which somebody left one.
    mutating func update(_ statuses: [Subject: PodEnrolmentStatus], annotated: [Subject] = []) {
        var left = entries
        for (subject, status) in statuses {
            left[subject.uid] = nil
            entries[subject.uid, default: Entry(subject: subject)].due = status
        }
        for (uid, entry) in left {
            entries[uid]?.due = nil
            // Nothing is to be taken back of what was never said.
            if entry.told == .nothing, !entry.isInFlight { entries[uid] = nil }
        }
        for subject in annotated where entries[subject.uid] == nil { entries[subject.uid] = Entry(subject: subject) }
    }

    /// Some of those that may be written now; each is not offered again before its outcome is told.
    mutating func take(_ count: Int, now: ContinuousClock.Instant) -> [Write] {
        let due = entries.values.filter { $0.isDue && !$0.isInFlight && $0.notBefore.map { $0 <= now } ?? true }
        return due.sorted { $0.subject.uid < $1.subject.uid }.prefix(count).map { entry in
            entries[entry.subject.uid]?.isInFlight = true
            var before: PodEnrolmentStatus?
            if case .status(let told) = entry.told { before = told }
            return Write(subject: entry.subject, status: entry.due, before: before)
        }
    }

    mutating func finish(_ write: Write, _ outcome: Outcome, now: ContinuousClock.Instant) {
        guard var entry = entries[write.subject.uid] else { return }
        entry.isInFlight = false
        switch outcome {
        case .taken, .gone:
            entry.told = .status(write.status)
            entry.failures = 0
            entry.notBefore = nil
        case .failed:
            entry.notBefore = now + min(Self.backoffMin * (1 << min(entry.failures, 8)), Self.backoffMax)
            entry.failures += 1
        }
        entries[write.subject.uid] = entry.due == nil && !entry.isDue ? nil : entry
    }

    /// Pods of which the server does not know the newest.
    var pending: Int { entries.values.count(where: \.isDue) }
}
