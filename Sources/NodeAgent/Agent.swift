import CNI
import IPAddressing
public import Logging
public import MeshAPI
public import ServiceLifecycle
import Synchronization

/// One node's agent: enrols its pods, hands them to the proxy, and tells the proxy what the mesh looks like.
public final class Agent: Service {
    /// What becomes of the redirections when the agent is shut down. A killed agent always leaves them: its pods stay
    /// closed, and the next agent adopts them.
    public enum OnExit: String, Sendable, CaseIterable {
        /// For an upgrade: the pods stay enrolled, served by the proxy that runs on.
        case leave
        /// Nothing stays behind.
        case remove
    }

    /// How often namespaces are looked at, and failed pods retried, when no change calls for it.
    private static let tick = Duration.milliseconds(500)

    private struct Inbox {
        /// All that was delivered and not taken yet; nil for nothing.
        var change: ClusterChange?
        var isStopping = false
    }

    private let node: String
    private let source: any PodSource
    private let namespaces: any PodNamespaces
    private let redirector: any PodRedirector
    private let handoff: any PodHandoff
    private let publisher: any MeshPublisher
    private let meshGuard: (any MeshGuard)?
    private let probeExemption: ProbeExemption
    private let probeTranslator: (any ProbeTranslator)?
    private let verificationInterval: Duration
    private let drainTimeout: Duration
    private let onExit: OnExit
    private let report: (file: ReportFile<AgentReport>, content: AgentReport)?
    private let sandboxServer: SandboxServer?
    private let reporter: (any AgentReporter)?
    private let logger: Logger

    private let sandboxes = SandboxQueue()
    private let inbox = Mutex(Inbox())
    private let phases = Mutex<[String: EnrolmentPlan.Phase]>([:])
    private let serving = Mutex(false)
    private let lost = Mutex(0)
    /// At most one is pending: whoever is woken looks at the inbox.
    private let wakeUps: AsyncStream<Void>
    private let wakeUp: AsyncStream<Void>.Continuation

    /// Every `verificationInterval` a few pods are compared with the kernel, and what somebody else changed is mended. `report`
    /// is completed and kept up to date in its file, and told to `reporter`.
    /// Pods that the CNI plugin asks `sandboxServer` for are enrolled before it is answered.
    /// `drainTimeout` is what connections through the proxy have when their pod is withdrawn; the proxy's own, which is to be shorter,
    /// comes first.
    public init(
        node: String, source: any PodSource, namespaces: any PodNamespaces = KernelPodNamespaces(),
        redirector: any PodRedirector, handoff: any PodHandoff, publisher: any MeshPublisher,
        meshGuard: (any MeshGuard)? = nil, probeExemption: ProbeExemption = .none,
        probeTranslator: (any ProbeTranslator)? = nil,
        verificationInterval: Duration = .seconds(5),
        drainTimeout: Duration = .seconds(30), onExit: OnExit,
        report: (file: ReportFile<AgentReport>, content: AgentReport)? = nil, sandboxServer: SandboxServer? = nil,
        reporter: (any AgentReporter)? = nil,
        logger: Logger
    ) {
        self.sandboxServer = sandboxServer
        self.node = node
        self.source = source
        self.namespaces = namespaces
        self.redirector = redirector
        self.handoff = handoff
        self.publisher = publisher
        self.meshGuard = meshGuard
        self.probeExemption = probeExemption
        self.probeTranslator = probeTranslator
        self.verificationInterval = verificationInterval
        self.drainTimeout = drainTimeout
        self.onExit = onExit
        self.report = report
        self.reporter = reporter
        self.logger = logger
        (wakeUps, wakeUp) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Each pod of this node that is enrolled, or should be, by uid.
    public var podPhases: [String: EnrolmentPlan.Phase] { phases.withLock { $0 } }

    /// What proxies were told of the mesh; nil when the publisher does not count.
    public var discovery: DiscoveryStatistics? { publisher.statistics }

    /// How many of them have no network namespace that could be found, and no phase therefore.
    public var podsWithoutNamespace: Int { lost.withLock { $0 } }

    /// The cluster is known, every pod of this node was tried to be enrolled, and proxies are told of them.
    public var isServing: Bool { serving.withLock { $0 } }

    /// Runs until graceful shutdown, once. Cancelled instead, it leaves the redirections as they are.
    public func run() async throws {
        let (started, start) = AsyncStream<Never>.makeStream()
        try await withGracefulShutdownHandler {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await self.follow() }
                group.addTask { try await self.tickForever() }
                group.addTask { try await self.serve(after: started) }
                group.addTask { try await self.reconcileUntilStopped(start) }
                if let sandboxServer {
                    group.addTask {
                        try await sandboxServer.run { question in
                            await self.sandboxes.ask(question) { self.wakeUp.yield() }
                        }
                    }
                }
                if let reporter { group.addTask { try await reporter.run() } }
                defer { group.cancelAll() }
                try await group.next()
            }
        } onGracefulShutdown: {
            self.inbox.withLock { $0.isStopping = true }
            self.wakeUp.yield()
        }
    }

    private func follow() async throws {
        try await source.follow(node: node) { change in
            self.inbox.withLock { inbox in
                var change = change
                change.since = change.since ?? .now
                if inbox.change == nil { inbox.change = change } else { inbox.change?.merge(change) }
            }
            self.wakeUp.yield()
        }
    }

    private func tickForever() async throws {
        while true {
            try await Task.sleep(for: Self.tick)
            wakeUp.yield()
        }
    }

    private func serve(after started: AsyncStream<Never>) async throws {
        for await _ in started {}
        try Task.checkCancellation()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.publisher.run() }
            group.addTask { try await self.handoff.run() }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func reconcileUntilStopped(_ start: AsyncStream<Never>.Continuation) async throws {
        var enroller = try PodEnroller(
            namespaces: namespaces, redirector: redirector, handoff: handoff, drainTimeout: drainTimeout,
            logger: logger)
        var pods: [ClusterState.Pod]?
        var addresses = GuardedAddresses()
        var reported: AgentReport?
        var nodeDrifts: [String: Int] = [:]
        var verification = ContinuousClock.now + verificationInterval
        var toldNamespaces: Set<String>?
        var nextReconciliation = ContinuousClock.now
        var admissions = SandboxAdmissions()
        var kubelet = KubeletWatch(probeExemption, translator: probeTranslator, logger: logger)
        for await _ in wakeUps {
            let (change, isStopping) = inbox.withLock { inbox in
                defer { inbox.change = nil }
                return (inbox.change, inbox.isStopping)
            }
            if isStopping { break }
            guard pods != nil || change != nil else { continue }
            let isFirst = pods == nil
            // First, and again until it succeeds: plaintext to an address that the guard does not know would pass.
            let guarded = change?.guarded ?? [:]
            addresses.take(guarded.filter(\.value))
            publishGuard(&addresses)
            // Last: what one proxy sends in plaintext already, before another knows that it may, is lost and sent again, not refused.
            defer {
                addresses.take(guarded.filter { !$0.value })
                publishGuard(&addresses)
            }
            if let change {
                // Before the pods: the proxy is to know where a new pod's connections may go when it gets the pod.
                publish(change, isFirst: isFirst)
                pods = change.pods ?? pods ?? []
            }
            if isFirst { clearForeignGuards(enroller) }
            let asked = verdicts(&admissions)
            let desired = admissions.desired(pods ?? [], source.admission, isThere: { namespaces.id(at: $0) != nil })
            // Compared with the file each time the rest is verified, too: somebody may have removed it.
            if let namespaces = source.enrolledNamespaces, namespaces != toldNamespaces || .now >= verification {
                sandboxServer?.publish(namespaces)
                toldNamespaces = namespaces
            }
            let strict = Set(desired.filter(\.isStrict).flatMap(\.addresses))
            if isFirst || .now >= verification { kubelet.look(meshGuard, pods: strict) }
            if .now >= verification {
                enroller.verify()
                let lost = lostAddresses(addresses.all)
                if lost > 0 {
                    nodeDrifts["guarded addresses", default: 0] += lost
                    addresses.loseAll()
                    publishGuard(&addresses)
                }
                verification = .now + verificationInterval
            }
            // The pods of other nodes change all the time; this node's are not looked at for that.
            guard isFirst || change?.pods != nil || !asked.isEmpty || .now >= nextReconciliation else { continue }
            kubelet.follow(pods: strict)
            enroller.confirmListeners()
            await enroller.reconcile(with: desired, now: .now)
            answer(asked, enroller)
            nextReconciliation = .now + Self.tick / 2
            reportRefusals()
            phases.withLock { $0 = enroller.plan.entries.mapValues(\.phase) }
            lost.withLock { $0 = enroller.missing.keys.count { enroller.plan.entries[$0] == nil } }
            writeReport(enroller, nodeDrifts, kubelet, &reported)
            start.finish()
            serving.withLock { $0 = true }
        }
        guard !Task.isCancelled, onExit == .remove else { return }
        await enroller.withdrawAll()
        kubelet.end()
        writeReport(enroller, nodeDrifts, kubelet, &reported)
        await reporter?.settle()
        await handoff.settle()
        meshGuard?.removeIfUnused()
    }

    // MARK: - Pods about to start

    /// Answers what needs no enrolment; of the rest, which pods are meant.
    private func verdicts(_ admissions: inout SandboxAdmissions) -> [UInt64: (SandboxQueue.Waiting, uid: String)] {
        var asked: [UInt64: (SandboxQueue.Waiting, uid: String)] = [:]
        for (id, waiting) in sandboxes.waiting {
            switch admissions.take(waiting.question, source.admission) {
            case .answer(let answer): sandboxes.answer(id, answer)
            case .wait(let reason): sandboxes.explain(id, reason)
            case .enrol(let uid): asked[id] = (waiting, uid)
            }
        }
        return asked
    }

    private func answer(_ asked: [UInt64: (SandboxQueue.Waiting, uid: String)], _ enroller: PodEnroller) {
        for (id, (waiting, uid)) in asked {
            let entry = enroller.plan.entries[uid]
            guard entry?.phase == .enrolled, let netns = waiting.question.sandbox?.netns,
                entry?.namespace == namespaces.id(at: netns)
            else {
                sandboxes.explain(id, entry?.failure?.reason ?? "it is not enrolled yet")
                if waiting.question.kind == .check { sandboxes.answer(id, .refused("it is not enrolled")) }
                continue
            }
            switch waiting.question.kind {
            case .check: sandboxes.answer(id, check(uid, enroller))
            // Its first connection is not to be refused, when there is somebody to carry it; without, it is closed all the same.
            case .add where hasProxy && !handoff.isServed(uid: uid) && .now < waiting.since + Self.proxyPatience:
                sandboxes.explain(id, "the proxy does not serve it yet")
            case .add, .status: sandboxes.answer(id, .ready)
            }
        }
    }

    private static let proxyPatience = Duration.seconds(2)

    private var hasProxy: Bool { handoff.proxies.contains { $0.refusal == nil } }

    private func check(_ uid: String, _ enroller: PodEnroller) -> SandboxAnswer {
        do {
            let missing = try enroller.missing(of: uid)
            return missing.isEmpty ? .ready : .refused("missing: \(missing.joined(separator: ", "))")
        } catch {
            return .refused("it cannot be looked at: \(error)")
        }
    }

    // MARK: -

    /// How many of the enrolled addresses somebody has taken from the guard.
    private func lostAddresses(_ addresses: Set<IPAddress>) -> Int {
        do {
            guard let known = try meshGuard?.enrolledAddresses() else { return 0 }
            let lost = addresses.subtracting(known)
            guard !lost.isEmpty else { return 0 }
            logger.warning(
                "Guard has lost enrolled addresses; will be told again",
                metadata: ["count": "\(lost.count)", "such as": "\(lost.first.map(\.description) ?? "")"])
            return lost.count
        } catch {
            logger.error("Guard's addresses cannot be read", metadata: ["reason": "\(error)"])
            return 0
        }
    }

    private func writeReport(
        _ enroller: PodEnroller, _ nodeDrifts: [String: Int], _ kubelet: KubeletWatch, _ reported: inout AgentReport?
    ) {
        guard let report else { return }
        var content = report.content
        content.proxies = handoff.proxies
        content.nodeDrifts = nodeDrifts
        if kubelet.drifts > 0 { content.nodeDrifts["probe translation"] = kubelet.drifts }
        content.probes = kubelet.trusted
        content.probeRules = kubelet.digest
        content.probesNoted = kubelet.counts?.noted
        content.probesMissed = kubelet.counts?.missed
        let missing = enroller.missing
        content.pods = enroller.plan.entries.sorted { $0.key < $1.key }.map { uid, entry in
            AgentReport.Pod(
                uid: uid, name: enroller.names[uid]?.name, namespace: enroller.names[uid]?.namespace,
                phase: entry.phase == .recorded && missing[uid] != nil ? "waiting" : entry.phase.name,
                failure: entry.failure?.reason ?? missing[uid], isServed: handoff.isServed(uid: uid),
                isStrict: entry.plan?.isProbed, drifts: enroller.drifts.parts(of: uid))
        }
        content.pods += missing.sorted { $0.key < $1.key }.compactMap { uid, reason in
            guard enroller.plan.entries[uid] == nil else { return nil }
            return AgentReport.Pod(
                uid: uid, name: enroller.names[uid]?.name, namespace: enroller.names[uid]?.namespace, phase: "waiting",
                failure: reason, isServed: false, isStrict: nil, drifts: [:])
        }
        guard content != reported else { return }
        reporter?.report(content)
        do {
            try report.file.write(content)
            reported = content
        } catch {
            logger.error("Status cannot be written", metadata: ["reason": "\(error)"])
        }
    }

    private func publishGuard(_ addresses: inout GuardedAddresses) {
        guard let meshGuard, addresses.isPublicationDue else { return }
        do {
            try addresses.publish(to: meshGuard)
        } catch {
            logger.error("Guard does not know all enrolled addresses", metadata: ["reason": "\(error)"])
        }
    }

    /// Of pods that no record speaks of, such as when the directory of the records was lost: nobody else would remove them.
    private func clearForeignGuards(_ enroller: PodEnroller) {
        for uid in meshGuard?.pods ?? [] where enroller.plan.entries[uid] == nil {
            do {
                try meshGuard?.detach(pod: uid)
                logger.warning("Guard of an unknown pod removed", metadata: ["pod": "\(uid)"])
            } catch {
                logger.error(
                    "Guard of an unknown pod not removed", metadata: ["pod": "\(uid)", "reason": "\(error)"])
            }
        }
    }

    private func reportRefusals() {
        do {
            for event in try meshGuard?.takeEvents() ?? [] {
                logger.warning(
                    event.isDropped ? "Guard dropped a packet" : "Guard would have dropped a packet",
                    metadata: [
                        "pod": "\(event.pod ?? "gone")", "direction": "\(event.direction)", "reason": "\(event.reason)",
                        "source": "\(event.source)", "destination": "\(event.destination)",
                    ])
            }
        } catch {
            logger.error("Guard's events cannot be read", metadata: ["reason": "\(error)"])
        }
    }

    private func publish(_ change: ClusterChange, isFirst: Bool) {
        for (uid, reason) in change.omitted {
            logger.error("Pod left out of the mesh", metadata: ["pod": "\(uid)", "reason": "\(reason)"])
        }
        for (object, problem) in change.warnings {
            logger.warning("Object not understood", metadata: ["object": "\(object)", "problem": "\(problem)"])
        }
        guard isFirst || !change.mesh.isEmpty else { return }
        publisher.publish(change.mesh, since: change.since ?? .now)
        logger.log(
            level: isFirst ? .info : .debug, isFirst ? "Mesh published" : "Change of the mesh published",
            metadata: ["workloads": "\(change.mesh.workloads.count)", "services": "\(change.mesh.services.count)"])
    }
}
