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
        /// Remove the redirection, then take the pod back.
        case withdraw(uid: String)
    }

    public enum Phase: Hashable, Sendable {
        /// Redirected by an earlier agent; this one has not handed it over yet.
        case recorded
        case enrolled
        /// Not enrolled, or not wholly: closed to traffic rather than open, if it was redirected at all.
        case waiting(Failure)
        /// No longer wanted, but still redirected.
        case leaving(Failure)
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

        public var failure: Failure? {
            switch phase {
            case .waiting(let failure), .leaving(let failure): failure
            case .recorded, .enrolled: nil
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
        for (uid, entry) in entries.sorted(by: { $0.key < $1.key }) {
            let moved = entry.namespace != nil && observed[uid] != nil && entry.namespace != observed[uid]
            guard wanted[uid] == nil || moved else { continue }
            if case .leaving(let failure) = entry.phase, failure.retryAt > now { continue }
            withdrawals.append(.withdraw(uid: uid))
        }
        // A pod in a new namespace is withdrawn from the old one first: its turn comes when that is done.
        let busy = Set(withdrawals)
        let enrolments = desired.compactMap { pod in
            busy.contains(.withdraw(uid: pod.uid)) ? nil : enrolment(of: pod, now: now)
        }
        return withdrawals + enrolments
    }

    private func enrolment(of pod: ClusterState.Pod, now: ContinuousClock.Instant) -> Step? {
        guard let entry = entries[pod.uid] else { return .enrol(pod, replacing: false) }
        let replacing = entry.handedOver.map { $0 != Identity(pod) } ?? false
        switch entry.phase {
        case .enrolled: return replacing || entry.plan != pod.plan ? .enrol(pod, replacing: replacing) : nil
        case .recorded: return .enrol(pod, replacing: replacing)
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

    /// Somebody has changed the redirection of an enrolled pod: it is to be installed again, and the proxy keeps the pod.
    public mutating func drifted(uid: String) {
        guard entries[uid]?.phase == .enrolled else { return }
        entries[uid]?.phase = .recorded
    }

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
