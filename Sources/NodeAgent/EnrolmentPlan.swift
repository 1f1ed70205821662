import Redirection

/// Which pods of this node are enrolled, which are to be, and what is to be done next.
///
/// A value without I/O. The agent asks `steps`, carries each of them out, tells the outcome, and asks again until there
/// are none: so a step may rely on those before it, and a failed one waits for its time without holding up the others.
public struct EnrolmentPlan: Sendable {
    public enum Step: Hashable, Sendable {
        /// Redirect the pod, or redirect it otherwise, and hand it over; first take it back from the proxy if `replacing`, as the proxy keeps what it
        /// was told when a pod comes again with the same namespace.
        case enrol(ClusterState.Pod, replacing: Bool)
        /// Let new connections pass the proxy by, and take the pod back from it.
        ///
        /// A pod that has moved to another namespace has nobody left in the old one to wait for.
        case withdraw(uid: String, drains: Bool)
        /// Remove the redirection, unless the proxy still has connections of the pod and there is time left for them.
        case finish(uid: String, isDue: Bool)
    }

    public enum Phase: Hashable, Sendable {
        /// Redirected by an earlier agent; this one has not handed it over yet.
        case recorded
        case enrolled
        /// Not enrolled, or not wholly: closed to traffic rather than open, if it was redirected at all.
        case waiting(Failure)
        /// No longer wanted, but still redirected.
        case leaving(Failure)
        /// New connections are the pod's own; the proxy has until `deadline` for those that it carries.
        case draining(checkAt: ContinuousClock.Instant, deadline: ContinuousClock.Instant)
    }

    public struct Failure: Hashable, Sendable {
        public let reason: String
        public let attempts: Int
        public let retryAt: ContinuousClock.Instant
    }

    public struct Entry: Hashable, Sendable {
        public internal(set) var phase: Phase
        /// Where the redirection is; nil when none was installed.
        public internal(set) var namespace: NamespaceID?
        /// What the proxy was told last.
        var handedOver: Identity?
        /// How it is redirected.
        var plan: RedirectionPlan?
        /// Its listeners have gone from the pod: the proxy is to open them anew.
        var isToBeHandedOverAgain = false

        public var failure: Failure? {
            switch phase {
            case .waiting(let failure), .leaving(let failure): failure
            case .recorded, .enrolled, .draining: nil
            }
        }
    }

    /// What the proxy is told of a pod.
    struct Identity: Hashable, Sendable {
        let name: String
        let namespace: String
        let serviceAccount: String

        init(_ pod: ClusterState.Pod) {
            name = pod.name
            namespace = pod.namespace
            serviceAccount = pod.serviceAccount
        }
    }

    public private(set) var entries: [String: Entry] = [:]

    /// Starts from what earlier agents left behind.
    public init(recorded: [PodRecord] = []) {
        for record in recorded {
            entries[record.uid] = Entry(phase: .recorded, namespace: record.namespace)
        }
    }

    /// What is to be done now, withdrawals first; empty when all is as desired or waits for its time.
    ///
    /// `observed` has the namespace at each desired pod's path; a path where there is nothing is left out.
    public func steps(
        desired: [ClusterState.Pod], observed: [String: NamespaceID], now: ContinuousClock.Instant
    ) -> [Step] {
        let wanted = Dictionary(desired.map { ($0.uid, $0) }) { first, _ in first }
        var withdrawals: [Step] = []
        var busy: Set<String> = []
        for (uid, entry) in entries.sorted(by: { $0.key < $1.key }) {
            let moved = entry.namespace != nil && observed[uid] != nil && entry.namespace != observed[uid]
            guard wanted[uid] == nil || moved else { continue }
            // A pod in a new namespace is withdrawn from the old one first: its turn comes when that is done.
            busy.insert(uid)
            switch entry.phase {
            case .leaving(let failure) where failure.retryAt > now: continue
            case .draining(let checkAt, let deadline):
                if checkAt <= now { withdrawals.append(.finish(uid: uid, isDue: moved || deadline <= now)) }
            case .recorded, .enrolled, .waiting, .leaving: withdrawals.append(.withdraw(uid: uid, drains: !moved))
            }
        }
        return withdrawals + desired.compactMap { busy.contains($0.uid) ? nil : enrolment(of: $0, now: now) }
    }

    private func enrolment(of pod: ClusterState.Pod, now: ContinuousClock.Instant) -> Step? {
        guard let entry = entries[pod.uid] else { return .enrol(pod, replacing: false) }
        let replacing = entry.isToBeHandedOverAgain || (entry.handedOver.map { $0 != Identity(pod) } ?? false)
        switch entry.phase {
        case .enrolled: return replacing || entry.plan != pod.plan ? .enrol(pod, replacing: replacing) : nil
        // What still drains, goes on beside what is new.
        case .recorded, .draining: return .enrol(pod, replacing: replacing)
        case .waiting(let failure), .leaving(let failure):
            return failure.retryAt > now ? nil : .enrol(pod, replacing: replacing)
        }
    }

    public mutating func enrolled(_ pod: ClusterState.Pod, in namespace: NamespaceID) {
        entries[pod.uid] = Entry(phase: .enrolled, namespace: namespace, handedOver: Identity(pod), plan: pod.plan)
    }

    /// `namespace` is where the redirection is, if it was installed before the failure.
    public mutating func failed(
        toEnrol pod: ClusterState.Pod, in namespace: NamespaceID?, reason: String, now: ContinuousClock.Instant
    ) {
        var entry = entries[pod.uid] ?? Entry(phase: .recorded)
        entry.namespace = namespace ?? entry.namespace
        entry.phase = .waiting(failure(after: entry, reason, now))
        entries[pod.uid] = entry
    }

    /// Somebody has changed the redirection of an enrolled pod: it is to be installed again, and the proxy keeps the pod, unless its
    /// listeners there are lost.
    public mutating func drifted(uid: String, areListenersLost: Bool = false) {
        guard entries[uid]?.phase == .enrolled else { return }
        entries[uid]?.phase = .recorded
        entries[uid]?.isToBeHandedOverAgain = areListenersLost
    }

    /// New connections pass the proxy by; also when it was asked whether it is done, and is not.
    public mutating func draining(uid: String, until deadline: ContinuousClock.Instant, now: ContinuousClock.Instant) {
        guard var entry = entries[uid] else { return }
        var deadline = deadline
        if case .draining(_, let earlier) = entry.phase { deadline = earlier }
        entry.phase = .draining(checkAt: min(now + Self.drainCheckInterval, max(deadline, now)), deadline: deadline)
        entry.handedOver = nil
        entries[uid] = entry
    }

    private static let drainCheckInterval = Duration.milliseconds(100)

    public mutating func withdrawn(uid: String) {
        entries[uid] = nil
    }

    public mutating func failed(toWithdraw uid: String, reason: String, now: ContinuousClock.Instant) {
        guard var entry = entries[uid] else { return }
        entry.phase = .leaving(failure(after: entry, reason, now))
        entries[uid] = entry
    }

    /// Half a second, doubling up to half a minute: what fails is local, and an operator who mends it is watching.
    private func failure(after entry: Entry, _ reason: String, _ now: ContinuousClock.Instant) -> Failure {
        let attempts = (entry.failure?.attempts ?? 0) + 1
        let delay = min(.milliseconds(500) * (1 << min(attempts - 1, 10)), Duration.seconds(30))
        return Failure(reason: reason, attempts: attempts, retryAt: now + delay)
    }
}

extension EnrolmentPlan.Phase {
    /// As reports have it.
    public var name: String {
        switch self {
        case .recorded: "recorded"
        case .enrolled: "enrolled"
        case .waiting: "waiting"
        case .leaving: "leaving"
        case .draining: "draining"
        }
    }
}
