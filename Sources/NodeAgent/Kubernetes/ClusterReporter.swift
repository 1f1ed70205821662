import FoundationEssentials
public import KubernetesAPI
public import Logging
import Synchronization

/// Tells the API server how this node's pods are: an annotation of each, the condition of those that wait for it, Events, and a Lease for
/// the node. All of it is output: what others write there is not read.
///
/// The API server may be slow, or away: what is to be told is kept, the newest of each pod, and told when it is back. The pods
/// themselves do not wait for any of this.
public final class ClusterReporter: AgentReporter {
    public struct Configuration: Sendable {
        public let node: String
        /// Where Culvert runs: the node's Lease is made there.
        public let namespace: String
        public let version: String
        /// Where the proxy leaves what it says of itself.
        public let runDirectory: String
        /// Taken from the node when the agent is ready and a proxy is there; nil for none.
        public var startupTaint: String? = "culvert.dev/agent-not-ready"

        public init(node: String, namespace: String, version: String, runDirectory: String) {
            self.node = node
            self.namespace = namespace
            self.version = version
            self.runDirectory = runDirectory
        }
    }

    private struct State {
        var report: AgentReport?
        var queue = PodStatusQueue()
        /// Of pods' annotations, that were told.
        var problems: [String: String] = [:]
    }

    private static let writesAtOnce = 8
    /// Besides those that failed and wait for their time, nothing becomes due by itself.
    private static let tick = Duration.milliseconds(500)
    private static let settleTimeout = Duration.seconds(5)

    private let client: KubernetesClient
    private let configuration: Configuration
    private let pods: NodePods
    private let events: EventRecorder
    private let source: KubernetesPodSource
    private let logger: Logger
    private let state = Mutex(State())
    private let wakeUps: AsyncStream<Void>
    private let wakeUp: AsyncStream<Void>.Continuation

    /// `source` knows the pods by the names that they have in the cluster.
    public init(_ client: KubernetesClient, _ configuration: Configuration, source: KubernetesPodSource, logger: Logger)
    {
        self.client = client
        self.configuration = configuration
        self.source = source
        pods = source.nodePods
        events = EventRecorder(
            client: client, component: "culvert-agent", instance: configuration.node, now: { Date() }, logger: logger)
        self.logger = logger
        (wakeUps, wakeUp) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    public func report(_ report: AgentReport) {
        let known = pods.all
        var statuses: [PodStatusQueue.Subject: PodEnrolmentStatus] = [:]
        for pod in report.pods {
            guard let entry = known[pod.uid] else { continue }
            // What an earlier agent did, and this one has not looked at yet, is as that one said.
            statuses[entry.subject] = PodEnrolmentStatus(pod, backend: report.backend.chosen)
        }
        let reported = Set(report.pods.map(\.uid))
        let annotated = known.values.filter { $0.isAnnotated && !reported.contains($0.subject.uid) }.map(\.subject)
        state.withLock { state in
            state.report = report
            state.queue.update(statuses, annotated: annotated)
        }
        wakeUp.yield()
    }

    public func settle() async {
        let deadline = ContinuousClock.now + Self.settleTimeout
        while state.withLock({ $0.queue.pending }) > 0, .now < deadline, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    public func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.writeForever() }
            group.addTask { try await self.beatForever() }
            group.addTask { await self.events.run() }
            group.addTask {
                while true {
                    try await Task.sleep(for: Self.tick)
                    self.wakeUp.yield()
                }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    // MARK: - Pods

    private func writeForever() async throws {
        for await _ in wakeUps {
            tellProblems()
            while true {
                let writes = state.withLock { $0.queue.take(Self.writesAtOnce, now: .now) }
                if writes.isEmpty { break }
                await withTaskGroup(of: Void.self) { group in
                    for write in writes { group.addTask { await self.perform(write) } }
                }
                try Task.checkCancellation()
            }
        }
        try Task.checkCancellation()
    }

    private func perform(_ write: PodStatusQueue.Write) async {
        let subject = write.subject
        let entry = pods[subject.uid]
        var outcome = PodStatusQueue.Outcome.taken
        do {
            _ = try await client.patch(
                Pod.self, name: subject.name, namespace: subject.namespace, subresource: "status",
                Self.patch(write, hasGate: entry?.hasGate ?? false, now: Date()))
        } catch {
            outcome = Self.outcome(error, isKnown: pods[subject.uid] != nil)
            logger.log(
                level: outcome == .gone ? .debug : .warning, "Pod's status not told to the API server",
                metadata: ["pod": "\(subject.uid)", "reason": "\(error)"])
        }
        state.withLock { $0.queue.finish(write, outcome, now: .now) }
        guard outcome == .taken, let news = Self.news(write, wasAnnotated: entry?.isAnnotated ?? false) else { return }
        tell(news, of: subject)
    }

    /// With another uid than that of the patch it is another pod, which the server calls a conflict, or an immutable field.
    static func outcome(_ error: any Error, isKnown: Bool) -> PodStatusQueue.Outcome {
        switch (error as? KubernetesError)?.reason {
        case .notFound?: .gone
        case .conflict?, .invalid?: isKnown ? .failed : .gone
        default: .failed
        }
    }

    /// By the status's own door, for which no right to change the pod's specification or labels is needed.
    static func patch(_ write: PodStatusQueue.Write, hasGate: Bool, now: Date) -> Patch {
        let text = write.status.map { JSONValue.string($0.text) } ?? .null
        let metadata: JSONValue = [
            "uid": .string(write.subject.uid), "annotations": [PodEnrolmentStatus.annotation: text],
        ]
        guard hasGate else { return .strategicMerge(["metadata": metadata]) }
        let reason =
            switch write.status?.state {
            case .enrolled?: "Enrolled"
            case .waiting?: "EnrolmentFailed"
            case .draining?, nil: "NotEnrolled"
            }
        let condition = Condition(
            type: PodEnrolmentStatus.condition, status: write.status?.state == .enrolled ? "True" : "False",
            reason: reason, message: write.status?.reason ?? "", lastTransitionTime: Timestamp(seconds: now))
        return .strategicMerge(["metadata": metadata, "status": ["conditions": .array([condition.json])]])
    }

    struct News: Hashable {
        let severity: Event.Severity
        let reason: String
        let message: String
    }

    /// That a pod was enrolled is news unless an earlier agent had said so; that it waits, each time for another reason.
    static func news(_ write: PodStatusQueue.Write, wasAnnotated: Bool) -> News? {
        guard let status = write.status, status != write.before else { return nil }
        switch status.state {
        case .enrolled:
            guard write.before?.state != .enrolled, write.before != nil || !wasAnnotated else { return nil }
            return News(
                severity: .normal, reason: "Enrolled",
                message: "TCP connections go through Culvert's proxy (\(status.backend ?? "?"))")
        case .waiting:
            return News(
                severity: .warning, reason: "EnrolmentFailed",
                message: (status.reason ?? "no reason is known") + "; will be tried again")
        case .draining: return nil
        }
    }

    /// What annotations of pods say wrongly, and is ignored therefore.
    private func tellProblems() {
        let problems = pods.all.compactMapValues(\.problem)
        let before = state.withLock { state in
            defer { state.problems = problems }
            return state.problems
        }
        for (uid, problem) in problems where problem != before[uid] {
            guard let subject = pods[uid]?.subject else { continue }
            tell(
                News(severity: .warning, reason: "InvalidAnnotation", message: problem + "; it is ignored"), of: subject
            )
        }
    }

    private func tell(_ news: News, of subject: PodStatusQueue.Subject) {
        events.record(
            news.severity, news.reason,
            on: ObjectReference(kind: "Pod", namespace: subject.namespace, name: subject.name, uid: subject.uid),
            news.message)
    }

    // MARK: - The node

    private func beatForever() async throws {
        var isTainted = configuration.startupTaint != nil
        var wasFailing = false
        while true {
            if let report = state.withLock(\.report) {
                do {
                    try await beat(report)
                    if isTainted, source.isComplete, report.proxies.contains(where: { $0.refusal == nil }) {
                        try await removeTaint()
                        isTainted = false
                    }
                    wasFailing = false
                } catch {
                    logger.log(
                        level: wasFailing ? .debug : .warning, "Node's state not told to the API server",
                        metadata: ["reason": "\(error)"])
                    wasFailing = true
                }
            }
            // A node that is not ready yet has somebody waiting for it.
            try await Task.sleep(for: isTainted ? .seconds(1) : NodeHeartbeat.interval)
        }
    }

    private func beat(_ report: AgentReport) async throws {
        let now = Date()
        let heartbeat = NodeHeartbeat(
            report, proxy: ProxyReport.file(in: configuration.runDirectory).read(), version: configuration.version,
            interruption: source.interruption,
            notReadyBecause: source.isComplete ? nil : "not all of the cluster's objects were listed yet", now: now)
        let lease = heartbeat.lease(namespace: configuration.namespace, now: now)
        do {
            try await client.patch(
                Lease.self, name: lease.name, namespace: lease.namespace, .merge(lease.json))
        } catch let error as KubernetesError where error.reason == .notFound {
            _ = try await client.create(lease)
        }
    }

    /// The others stay, also those that come or go in the same moment: then it is tried again.
    private func removeTaint() async throws {
        guard let key = configuration.startupTaint else { return }
        let node = try await client.get(Node.self, name: configuration.node)
        guard let index = node.taints.firstIndex(where: { $0.key == key }) else { return }
        let path = "/spec/taints/\(index)"
        try await client.patch(
            Node.self, name: configuration.node,
            .json([
                ["op": "test", "path": .string(path + "/key"), "value": .string(key)],
                ["op": "remove", "path": .string(path)],
            ]))
        logger.info("Node is open to pods: startup taint removed", metadata: ["taint": "\(key)"])
    }
}
