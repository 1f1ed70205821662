import FoundationEssentials
import KubernetesAPI
import NodeAgent

/// What `culvert status` prints: a value, put together from what the API server and the authority said.
struct ClusterStatusReport: Encodable, Equatable {
    struct NodeLine: Encodable, Equatable {
        let name: String
        /// `running`, `gone` or `none`.
        let agent: String
        let agentVersion: String?
        let renewedAt: Date?
        let backend: String?
        let guardMode: String?
        /// Connected to the agent.
        let proxies: Int?
        /// As the authority knows it, or else as the proxy has told its agent.
        let proxyVersion: String?
        /// Certificates of the proxy that live, by the authority, or else those of its pods' identities, by itself.
        let leaves: UInt32?
        /// When the first of its pods' certificates ends.
        let firstExpiry: Date?
        let trustBehindSince: Date?
        let pods: [String: Int]
        let problems: [String]
    }

    struct NamespaceLine: Encodable, Equatable {
        let name: String
        /// False where it is labelled, and the label is not followed.
        let isEnrolled: Bool
        let mode: String
        let pods: Int
        let enrolled: Int
        let problems: [String]
    }

    struct PodLine: Encodable, Equatable {
        let namespace: String
        let name: String
        let uid: String
        let node: String?
        /// `enrolled`, `waiting`, `draining`, `excluded` or `unknown`.
        let state: String
        let reason: String?
        let backend: String?
        /// Something is to be done about it.
        let isProblem: Bool
    }

    /// What is read from the API server.
    struct Facts {
        var nodes: [Node] = []
        var namespaces: [Namespace] = []
        var pods: [Pod] = []
        var leases: [Lease] = []
        var authority: AuthorityReport?
    }

    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    let isSound: Bool
    let enrolmentLabel: String
    let nodes: [NodeLine]
    /// Those that are enrolled, or carry the label.
    let namespaces: [NamespaceLine]
    /// Those of enrolled namespaces.
    let pods: [PodLine]
    /// nil when it was not asked.
    let authority: AuthorityReport?

    init(_ facts: Facts, _ rule: EnrolmentRule, now: Date) {
        let heartbeats = Dictionary(
            facts.leases.compactMap { lease in NodeHeartbeat(lease).map { ($0.node, ($0, lease.renewTime?.date)) } },
            uniquingKeysWith: { first, _ in first })
        let alive = Set(heartbeats.filter { Self.isAlive($0.value.1, now: now) }.keys)
        let verdicts = Dictionary(facts.namespaces.map { ($0.name, rule.enrolment(of: $0)) }) { first, _ in first }
        let lines = facts.pods.filter { verdicts[$0.namespace] == .enrolled }.map {
            Self.line($0, rule, alive)
        }.sorted { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
        let byNode = Dictionary(grouping: lines) { $0.node ?? "" }
        let trust = Dictionary((facts.authority?.nodes ?? []).map { ($0.name, $0) }) { first, _ in first }

        enrolmentLabel = rule.label
        pods = lines
        nodes = facts.nodes.map(\.name).sorted().map { name in
            Self.line(name, heartbeats[name], byNode[name] ?? [], trust[name], now: now)
        }
        namespaces = facts.namespaces.sorted { $0.name < $1.name }.compactMap { namespace in
            Self.line(namespace, rule, lines.filter { $0.namespace == namespace.name })
        }
        authority = facts.authority
        isSound =
            !lines.contains(where: \.isProblem) && nodes.allSatisfy(\.problems.isEmpty)
            && namespaces.allSatisfy(\.problems.isEmpty)
            && (facts.authority?.warnings.isEmpty ?? true)
    }

    private static func isAlive(_ renewed: Date?, now: Date) -> Bool {
        guard let renewed else { return false }
        // Clocks differ by a little: a Lease of the near future is one of now.
        return now.timeIntervalSince(renewed) < Double(NodeHeartbeat.duration.components.seconds)
    }

    private static func line(
        _ pod: Pod, _ rule: EnrolmentRule, _ alive: Set<String>
    ) -> PodLine {
        func line(_ state: String, _ reason: String?, backend: String? = nil, isProblem: Bool) -> PodLine {
            PodLine(
                namespace: pod.namespace, name: pod.name, uid: pod.metadata.uid, node: pod.spec.nodeName, state: state,
                reason: reason, backend: backend, isProblem: isProblem)
        }
        if let exclusion = rule.exclusion(of: pod) {
            return line("excluded", exclusion.text(enrolmentLabel: rule.label), isProblem: false)
        }
        let node = pod.spec.nodeName ?? ""
        guard let text = pod.metadata.annotations[PodEnrolmentStatus.annotation],
            let status = PodEnrolmentStatus(text: text)
        else {
            let reason =
                alive.contains(node)
                ? "the agent of \(node) has not told of it" : "no agent runs on \(node.isEmpty ? "its node" : node)"
            return line("unknown", reason, isProblem: true)
        }
        var reasons = [status.reason].compactMap(\.self)
        _ = ClusterAnnotation.exclusions(pod.metadata.annotations) { reasons.append($0) }
        return line(
            status.state.rawValue, reasons.isEmpty ? nil : reasons.joined(separator: "; "), backend: status.backend,
            isProblem: status.state == .waiting || !reasons.isEmpty)
    }

    private static func line(
        _ name: String, _ heartbeat: (NodeHeartbeat, Date?)?, _ pods: [PodLine], _ trust: AuthorityReport.NodeLine?,
        now: Date
    ) -> NodeLine {
        let concerned = pods.filter { $0.state != "excluded" }
        var problems: [String] = []
        var isRunning = false
        if let (beat, renewed) = heartbeat {
            isRunning = isAlive(renewed, now: now)
            if !isRunning {
                problems.append("its agent has said nothing since \(renewed?.formatted(.iso8601) ?? "ever")")
            }
            if let reason = beat.notReadyBecause { problems.append("its agent is not ready: \(reason)") }
            if let reason = beat.interruption { problems.append("its agent does not follow the cluster: \(reason)") }
            if beat.proxies == 0, !concerned.isEmpty { problems.append("no proxy is connected: its pods are closed") }
            if isRunning, let proxy = beat.proxy {
                if let reason = proxy.notReadyBecause { problems.append("its proxy is not ready: \(reason)") }
                if let end = proxy.firstExpiry, Double(end) <= now.timeIntervalSince1970 {
                    problems.append("its proxy has certificates that have expired")
                }
            }
            let claimed = concerned.count { $0.state == "enrolled" }
            let counted = beat.pods["enrolled"] ?? 0
            if isRunning, counted < claimed {
                problems.append("\(claimed) pods say that they are enrolled, and its agent knows of \(counted)")
            }
        } else if !concerned.isEmpty {
            problems.append("no agent has ever run here")
        }
        if let reason = trust?.cutOff { problems.append("its proxy gets no certificates: \(reason)") }
        let proxy = heartbeat?.0.proxy
        return NodeLine(
            name: name, agent: heartbeat == nil ? "none" : isRunning ? "running" : "gone",
            agentVersion: heartbeat?.0.version, renewedAt: heartbeat?.1, backend: heartbeat?.0.backend,
            guardMode: heartbeat?.0.guardMode, proxies: heartbeat?.0.proxies,
            proxyVersion: trust?.version ?? proxy?.version,
            leaves: trust?.leaves ?? proxy.map { UInt32(clamping: $0.identities) },
            firstExpiry: proxy?.firstExpiry.map { Date(timeIntervalSince1970: Double($0)) },
            trustBehindSince: trust?.behindSince,
            pods: Dictionary(pods.map { ($0.state, 1) }, uniquingKeysWith: +), problems: problems)
    }

    /// nil for one that nobody has labelled.
    private static func line(
        _ namespace: Namespace, _ rule: EnrolmentRule, _ pods: [PodLine]
    ) -> NamespaceLine? {
        let enrolment = rule.enrolment(of: namespace)
        guard enrolment != .unlabelled else { return nil }
        var problems = [enrolment.problem(label: rule.label)].compactMap(\.self)
        let mode = ClusterAnnotation.mode(of: namespace) { problems.append($0) }
        _ = ClusterAnnotation.exclusions(namespace.metadata.annotations) { problems.append($0) }
        return NamespaceLine(
            name: namespace.name, isEnrolled: enrolment == .enrolled, mode: mode.rawValue, pods: pods.count,
            enrolled: pods.count { $0.state == "enrolled" }, problems: problems)
    }
}
