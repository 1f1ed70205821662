import IPAddressing
import LinuxNetworking
import Logging
import Redirection

/// Carries out the enrolment plan of one node. Confined to the task that runs the agent.
struct PodEnroller {
    private(set) var plan: EnrolmentPlan

    private let namespaces: any PodNamespaces
    private let redirector: any PodRedirector
    private let handoff: any PodHandoff
    private let drainTimeout: Duration
    private let logger: Logger
    /// Kept open while the pod is enrolled: the redirection can be removed even when the path leads elsewhere by then.
    private var held: [String: NetworkNamespace] = [:]
    /// The last one that was compared with the kernel.
    private var verified: String?
    /// Those whose listeners were seen in their places since a proxy said that it serves them.
    private var confirmed: Set<String> = []
    /// How often each part of a pod was found missing or changed; of the pods that are enrolled.
    private(set) var drifts = DriftCounts()
    /// By uid, of the cluster as it was last.
    private(set) var names: [String: (namespace: String, name: String)] = [:]
    private var findings: [String: PodNamespaceFinding] = [:]
    /// A pass over all pods takes so many turns at most.
    private static let turnsMax = 12
    private static let verificationsMin = 4
    /// On a node of hundreds, all within seconds after a proxy has come.
    private static let confirmationsMax = 64

    init(
        namespaces: any PodNamespaces, redirector: any PodRedirector, handoff: any PodHandoff,
        drainTimeout: Duration, logger: Logger
    ) throws {
        self.namespaces = namespaces
        self.redirector = redirector
        self.handoff = handoff
        self.drainTimeout = drainTimeout
        self.logger = logger
        plan = EnrolmentPlan(recorded: try redirector.records())
    }

    /// Does all that can be done now.
    ///
    /// `desired` are the pods of this node that are to be enrolled.
    mutating func reconcile(with desired: [ClusterState.Pod], now: ContinuousClock.Instant) async {
        names = Dictionary(desired.map { ($0.uid, ($0.namespace, $0.name)) }) { first, _ in first }
        look(for: desired, now)
        var observed: [String: NamespaceID] = [:]
        for (uid, finding) in findings {
            if case .found(_, let id?) = finding { observed[uid] = id }
        }
        while true {
            // Each step ends in a state that does not ask for it again at this moment, so this ends too.
            let steps = plan.steps(desired: desired, observed: observed, now: now).filter(canBePerformed)
            if steps.isEmpty { return }
            for step in steps { await perform(step, now: now) }
        }
    }

    /// What is missing of an enrolled pod.
    func missing(of uid: String) throws -> [String] {
        guard let namespace = held[uid] else { return ["its enrolment"] }
        return try redirector.drift(uid: uid, in: namespace)
    }

    private mutating func look(for desired: [ClusterState.Pod], _ now: ContinuousClock.Instant) {
        let before = findings
        findings = namespaces.find(desired, now: now)
        for (uid, finding) in findings where finding != before[uid] {
            guard case .missing(let reason) = finding else { continue }
            logger.warning(
                "Pod's network namespace is not found; will be looked for again",
                metadata: metadata(uid).merging(["reason": "\(reason)"]) { $1 })
        }
    }

    /// What a pod was given stays while its namespace is looked for.
    private func canBePerformed(_ step: EnrolmentPlan.Step) -> Bool {
        guard case .enrol(let pod, _) = step else { return true }
        if case .found = findings[pod.uid] { return true }
        return false
    }

    /// Why there is nothing yet that could be enrolled, by uid.
    var missing: [String: String] {
        findings.compactMapValues { if case .missing(let reason) = $0 { reason } else { nil } }
    }

    /// Compares the next few enrolled pods with the kernel, in turn: each within a minute on a node of hundreds, when this is called
    /// every five seconds. What differs is mended by the next `reconcile`.
    mutating func verify() {
        let enrolled = plan.entries.filter { $0.value.phase == .enrolled }.keys.sorted()
        let behind = enrolled.filter { uid in verified.map { uid > $0 } ?? true }
        for uid in (behind + enrolled.filter { !behind.contains($0) }).prefix(
            max(Self.verificationsMin, (enrolled.count + Self.turnsMax - 1) / Self.turnsMax)
        ) {
            verified = uid
            guard let namespace = held[uid] else { continue }
            var metadata = metadata(uid)
            var listeners: [String] = []
            do {
                listeners = try lostListeners(uid, namespace)
                let missing = try redirector.drift(uid: uid, in: namespace) + listeners
                if missing.isEmpty { continue }
                drifts.count(missing, of: uid)
                metadata["missing"] = "\(missing.joined(separator: ", "))"
            } catch {
                drifts.count(["unreadable"], of: uid)
                metadata["reason"] = "\(error)"
            }
            metadata["times"] = "\(drifts.total(of: uid))"
            plan.drifted(uid: uid, areListenersLost: !listeners.isEmpty)
            logger.warning("Pod's redirection was changed by somebody; will be installed again", metadata: metadata)
        }
    }

    /// Looks where the listeners of newly served pods are, and answers whether some are to be handed over anew by the next `reconcile`: a proxy
    /// that was there before this agent has put them where the last one's redirection looked for them, which may be another backend's place.
    @discardableResult mutating func confirmListeners() -> Bool {
        var isAmiss = false
        confirmed = confirmed.filter(handoff.isServed)
        let unseen = plan.entries.lazy.filter { $0.value.phase == .enrolled }.map(\.key)
            .filter { [confirmed, handoff] uid in !confirmed.contains(uid) && handoff.isServed(uid: uid) }
        for uid in unseen.prefix(Self.confirmationsMax) {
            guard let namespace = held[uid] else { continue }
            confirmed.insert(uid)
            // What cannot be read is found by `verify`, which says so.
            guard let lost = try? lostListeners(uid, namespace), !lost.isEmpty else { continue }
            isAmiss = true
            plan.drifted(uid: uid, areListenersLost: true)
            logger.info(
                "Proxy listens elsewhere; the pod is handed to it again",
                metadata: metadata(uid).merging(["missing": "\(lost.joined(separator: ", "))"]) { $1 })
        }
        return isAmiss
    }

    /// None while no proxy says that it serves the pod: one that goes takes its listeners along, and then says nothing.
    private func lostListeners(_ uid: String, _ namespace: NetworkNamespace) throws -> [String] {
        guard handoff.isServed(uid: uid) else { return [] }
        let missing = try redirector.missingListeners(uid: uid, in: namespace)
        return handoff.isServed(uid: uid) ? missing : []
    }

    /// Takes every pod out, and waits for what the proxy carries as long as for a single one. What cannot be taken out is logged
    /// and stays on record.
    mutating func withdrawAll() async {
        for uid in plan.entries.keys.sorted() where !isDraining(uid) { withdraw(uid: uid, drains: true, now: .now) }
        while plan.entries.keys.contains(where: isDraining), !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(20))
            let now = ContinuousClock.now
            for step in plan.steps(desired: [], observed: [:], now: now) { await perform(step, now: now) }
        }
    }

    private func isDraining(_ uid: String) -> Bool {
        if case .draining = plan.entries[uid]?.phase { true } else { false }
    }

    private mutating func perform(_ step: EnrolmentPlan.Step, now: ContinuousClock.Instant) async {
        switch step {
        case .enrol(let pod, let replacing): await enrol(pod, replacing: replacing, now: now)
        case .withdraw(let uid, let drains): withdraw(uid: uid, drains: drains, now: now)
        case .finish(let uid, let isDue): finish(uid: uid, isDue: isDue, now: now)
        }
    }

    /// Redirection comes before the handover: until the proxy listens, the pod's connections are refused, not let past.
    private mutating func enrol(_ pod: ClusterState.Pod, replacing: Bool, now: ContinuousClock.Instant) async {
        var metadata = metadata(pod.uid)
        metadata["name"] = "\(pod.namespace)/\(pod.name)"
        var redirected: NamespaceID?
        do {
            guard case .found(let path, _) = findings[pod.uid] else { return }
            let namespace = try namespaces.open(path: path)
            try check(namespace, holds: pod.addresses, path)
            try redirector.record(uid: pod.uid, netns: path, in: namespace, plan: pod.plan)
            let bypassed = try redirector.install(uid: pod.uid, netns: path, in: namespace, plan: pod.plan)
            redirected = NamespaceID(namespace)
            if bypassed {
                let count = try redirector.resetConnections(uid: pod.uid, in: namespace, plan: pod.plan)
                metadata["connectionsReset"] = "\(count)"
            }
            if replacing {
                confirmed.remove(pod.uid)
                handoff.remove(uid: pod.uid)
                await handoff.settle()
            }
            try handoff.add(pod, in: namespace)
            held[pod.uid] = namespace
            reportExclusions(of: pod, metadata)
            plan.enrolled(pod, in: NamespaceID(namespace))
            logger.info("Pod enrolled", metadata: metadata)
        } catch {
            let before = plan.entries[pod.uid]?.failure?.reason
            plan.failed(toEnrol: pod, in: redirected, reason: "\(error)", now: now)
            metadata["reason"] = "\(error)"
            metadata["attempt"] = "\(plan.entries[pod.uid]?.failure?.attempts ?? 1)"
            // The same reason again and again is one piece of news.
            logger.log(
                level: before == "\(error)" ? .debug : .error, "Pod not enrolled; will be tried again",
                metadata: metadata)
        }
    }

    /// Each is a hole, and is to be seen when it appears.
    private func reportExclusions(of pod: ClusterState.Pod, _ metadata: Logger.Metadata) {
        let before = plan.entries[pod.uid]?.plan?.exclusions ?? PodExclusions()
        guard pod.exclusions != before else { return }
        var metadata = metadata
        metadata["excluded"] = "\(pod.exclusions)"
        logger.warning(
            pod.exclusions.isEmpty
                ? "Pod's plaintext holes are closed" : "Pod has plaintext holes: not captured, not guarded",
            metadata: metadata)
    }

    /// The path could lead to another pod's namespace by mistake, or to the node's own: redirecting that would cut it off.
    private func check(_ namespace: NetworkNamespace, holds addresses: [IPAddress], _ path: String) throws {
        let present = try namespaces.addresses(in: namespace)
        guard addresses.contains(where: present.contains) else {
            throw EnrolmentError.foreignNamespace(path: path, expected: addresses, found: present)
        }
    }

    /// New connections pass by the proxy before it is told that the pod is gone: until then it serves them.
    private mutating func withdraw(uid: String, drains: Bool, now: ContinuousClock.Instant) {
        leave(uid, now) { (enroller: inout Self) in
            if let namespace = try enroller.namespace(of: uid) {
                try enroller.redirector.release(uid: uid, from: namespace)
                enroller.held[uid] = namespace
            }
            enroller.handoff.remove(uid: uid)
            try enroller.settle(uid, until: drains ? now + enroller.drainTimeout : now, now)
        }
    }

    private mutating func finish(uid: String, isDue: Bool, now: ContinuousClock.Instant) {
        leave(uid, now) { (enroller: inout Self) in try enroller.settle(uid, until: isDue ? now : nil, now) }
    }

    /// Removes the redirection if the proxy carries nothing of the pod any more, or the time is over. What has begun to drain has its
    /// deadline already.
    private mutating func settle(
        _ uid: String, until deadline: ContinuousClock.Instant?, _ now: ContinuousClock.Instant
    ) throws {
        let namespace = try namespace(of: uid)
        let left = try namespace.map { try redirector.proxiedConnections(uid: uid, in: $0) } ?? 0
        if left > 0, deadline != now {
            if !isDraining(uid) {
                logger.info("Pod drains", metadata: metadata(uid).merging(["connections": "\(left)"]) { $1 })
            }
            return plan.draining(uid: uid, until: deadline ?? now, now: now)
        }
        try redirector.remove(uid: uid, from: namespace)
        held[uid] = nil
        plan.withdrawn(uid: uid)
        drifts.forget(uid)
        logger.info("Pod withdrawn", metadata: metadata(uid).merging(left > 0 ? ["cut": "\(left)"] : [:]) { $1 })
    }

    private mutating func leave(
        _ uid: String, _ now: ContinuousClock.Instant, _ body: (inout Self) throws -> Void
    ) {
        do {
            try body(&self)
        } catch {
            var metadata = metadata(uid)
            let before = plan.entries[uid]?.failure?.reason
            plan.failed(toWithdraw: uid, reason: "\(error)", now: now)
            metadata["reason"] = "\(error)"
            logger.log(
                level: before == "\(error)" ? .debug : .error, "Pod not withdrawn; will be tried again",
                metadata: metadata)
        }
    }

    /// The one that is held, or that of an earlier agent's redirection; nil when it is gone.
    private func namespace(of uid: String) throws -> NetworkNamespace? {
        if let namespace = held[uid] { return namespace }
        guard let record = try redirector.records().first(where: { $0.uid == uid }) else { return nil }
        return try namespaces.find(record)
    }

    private func metadata(_ uid: String) -> Logger.Metadata { ["pod": "\(uid)"] }
}

/// Why a pod is not enrolled, where it is not the kernel that says so.
enum EnrolmentError: Error, Hashable, Sendable, CustomStringConvertible {
    case foreignNamespace(path: String, expected: [IPAddress], found: Set<IPAddress>)

    var description: String {
        switch self {
        case .foreignNamespace(let path, let expected, let found):
            let wanted = expected.map(\.description).joined(separator: ", ")
            let there = found.filter { !$0.isLoopback }.map(\.description).sorted().prefix(8).joined(separator: ", ")
            return "\(path) is not this pod's: expected one of \(wanted), got \(there.isEmpty ? "no address" : there)"
        }
    }
}
