import FoundationEssentials
import NodeAgent
import Redirection

/// What `culvert agent status` prints.
struct NodeStatusReport: Encodable, Equatable {
    struct Agent: Encodable, Equatable {
        let isAlive: Bool
        let pid: Int32?
        let startedAt: Date?
        /// `enforce`, `audit` or `off`.
        let guardMode: String?
        let backend: String?
        let backendAsked: String?
        let backendReason: String?
        /// By what the proxy's connections are told from applications'.
        let proxyKnown: String?
    }

    struct Kernel: Encodable, Equatable {
        let release: String
        let cgroup2: String?
        let libbpf: Bool
        let nft: Bool
        let pinDirectoryMounted: Bool
    }

    struct Proxy: Encodable, Equatable {
        let pid: Int32
        let refusal: String?
    }

    /// How the kubelet's probes of strict pods are recognised, and whose are.
    struct Probes: Encodable, Equatable {
        /// `flow`, `snat` or `off`.
        let by: String
        let asked: String
        let reason: String
        /// A cgroup, or why nobody's are.
        let kubelet: String?
        /// Of `flow`.
        let noted: UInt64?
        let missed: UInt64?
        /// Of `snat`: which source they are given, how many connections were, and how many packets claimed it.
        let source: String?
        let given: UInt64?
        let forged: UInt64?
        let missing: [String]
    }

    struct Part: Encodable, Equatable {
        let name: String
        let isPresent: Bool

        init(_ part: CapturePart) {
            name = part.name
            isPresent = part.isPresent
        }
    }

    struct Guard: Encodable, Equatable {
        let mode: String?
        /// `tcx` or `clsact`.
        let means: String?
        let interfaces: [UInt32]
        let parts: [Part]
    }

    struct Refused: Encodable, Equatable {
        let direction: String
        let reason: String
        let packets: UInt64
        let bytes: UInt64
    }

    struct Rules: Encodable, Equatable {
        let inboundRefused: UInt64
        let guardDropped: UInt64
    }

    struct Pod: Encodable, Equatable {
        let uid: String
        let name: String?
        let namespace: String?
        let netns: String?
        let backend: String?
        let phase: String?
        let failure: String?
        let isServed: Bool
        let capture: [Part]
        let listeners: [Part]
        let guarded: Guard?
        let dropped: [Refused]
        let rules: Rules?
        let drift: Int
        let drifts: [String: Int]
        let exclusions: [String]
        let missing: [String]
        let problems: [String]
    }

    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    let node: String?
    let isSound: Bool
    let agent: Agent
    let kernel: Kernel
    let proxies: [Proxy]
    let probes: Probes?
    let nodeDrifts: [String: Int]
    let pods: [Pod]

    init(_ status: NodeStatus) {
        let report = status.report
        node = report?.node
        isSound = status.isSound
        agent = Agent(
            isAlive: status.isAgentAlive, pid: status.isAgentAlive ? report?.pid : nil,
            startedAt: report.map { Date(timeIntervalSince1970: Double($0.startedAt)) }, guardMode: report?.guardMode,
            backend: report?.backend.chosen, backendAsked: report?.backend.asked,
            backendReason: report?.backend.reason, proxyKnown: report?.proxyKnown)
        kernel = Kernel(
            release: status.kernel.release, cgroup2: status.kernel.cgroupRoot, libbpf: status.kernel.hasLibBPF,
            nft: status.kernel.hasNFT, pinDirectoryMounted: status.kernel.isPinDirectoryMounted)
        // What a dead agent knew of connections is nothing now.
        proxies = status.isAgentAlive ? (report?.proxies ?? []).map { Proxy(pid: $0.pid, refusal: $0.refusal) } : []
        probes = report.map { report in
            Probes(
                by: report.probesBy.chosen, asked: report.probesBy.asked, reason: report.probesBy.reason,
                kubelet: report.probes, noted: report.probesNoted, missed: report.probesMissed,
                source: report.probeSource, given: status.translation?.counts.given,
                forged: status.translation.map { $0.counts.forged + $0.counts.bridged },
                missing: status.translationParts.missing)
        }
        nodeDrifts = report?.nodeDrifts ?? [:]
        let isAlive = status.isAgentAlive
        pods = status.pods.map { Pod($0, isAlive) }
    }
}

extension NodeStatusReport.Pod {
    init(_ pod: NodeStatus.Pod, _ isAgentAlive: Bool) {
        let drifts = pod.report?.drifts ?? [:]
        self.init(
            uid: pod.uid, name: pod.report?.name, namespace: pod.report?.namespace, netns: pod.netns,
            backend: pod.backend?.rawValue, phase: pod.report?.phase, failure: pod.report?.failure,
            isServed: isAgentAlive && pod.report?.isServed ?? false,
            capture: pod.capture.map(NodeStatusReport.Part.init),
            listeners: pod.listeners.map(NodeStatusReport.Part.init),
            guarded: pod.guarded.map {
                NodeStatusReport.Guard(
                    mode: $0.mode?.rawValue, means: $0.means, interfaces: $0.interfaces,
                    parts: $0.parts.map(NodeStatusReport.Part.init))
            },
            dropped: pod.refused.map {
                NodeStatusReport.Refused(
                    direction: "\($0.direction)", reason: "\($0.reason)", packets: $0.packets, bytes: $0.bytes)
            },
            rules: pod.redirected.map { .init(inboundRefused: $0.inboundRefused, guardDropped: $0.guardDropped) },
            drift: drifts.values.reduce(0, +), drifts: drifts, exclusions: pod.exclusions, missing: pod.missing,
            problems: pod.problems)
    }

    /// As a person calls it.
    var title: String { name.map { "\(namespace ?? "?")/\($0)" } ?? uid }
}

// MARK: - For people

extension NodeStatusReport {
    func text(_ ink: Ink) -> String {
        var lines: [(String, String)] = [("Node", node ?? "unknown: no agent has left a report")]
        lines.append(("Agent", agentText(ink)))
        if let backend = agent.backend, let asked = agent.backendAsked {
            lines.append(("Backend", "\(backend) (--backend \(asked)): \(agent.backendReason ?? "")"))
        }
        if let known = agent.proxyKnown { lines.append(("Proxy", "known \(known)")) }
        if agent.isAlive {
            if proxies.isEmpty { lines.append(("", ink("no proxy is connected: pods are closed", .bad))) }
            for proxy in proxies {
                let text = proxy.refusal.map { ink("REFUSED, is given no pods: \($0)", .bad) } ?? "connected"
                lines.append(("", "pid \(proxy.pid) \(text)"))
            }
        }
        if let probes { lines += probeLines(probes, ink).map { ($0.offset == 0 ? "Probes" : "", $0.element) } }
        lines.append(("Kernel", kernelText))
        for (name, count) in nodeDrifts.sorted(by: { $0.key < $1.key }) {
            lines.append(("Drift", "\(name): \(count) put back"))
        }
        let width = lines.map(\.0.count).max() ?? 0
        let head = lines.map { $0.0 + String(repeating: " ", count: width + 2 - $0.0.count) + $0.1 + "\n" }.joined()
        return head + "\n" + (pods.isEmpty ? "No pod of this node is enrolled.\n" : table(ink) + details(ink))
    }

    private func agentText(_ ink: Ink) -> String {
        if agent.isAlive { return "running" + (agent.pid.map { ", pid \($0)" } ?? "") }
        return ink("NOT RUNNING", .bad) + ": pods stay as they are, and nobody repairs them"
    }

    private func probeLines(_ probes: Probes, _ ink: Ink) -> EnumeratedSequence<[String]> {
        var lines = ["\(probes.by) (--probes \(probes.asked)): \(probes.reason)"]
        if let kubelet = probes.kubelet { lines.append("of strict pods pass: \(kubelet)") }
        if let noted = probes.noted { lines.append("\(noted) noted, \(probes.missed ?? 0) not recognised and refused") }
        if let source = probes.source {
            lines.append(
                "\(probes.given ?? 0) given \(source); \(probes.forged ?? 0) packets claimed it, and were dropped")
        }
        return (lines + probes.missing.map { ink("missing: \($0)", .bad) }).enumerated()
    }

    private var kernelText: String {
        let words = [
            kernel.cgroup2.map { "cgroup2 at \($0)" } ?? "no cgroup2", kernel.libbpf ? "libbpf" : "no libbpf",
            kernel.nft ? "nft" : "no nft", kernel.pinDirectoryMounted ? "pins" : "no pins",
        ]
        return "\(kernel.release): \(words.joined(separator: ", "))"
    }

    private func table(_ ink: Ink) -> String {
        let titles = ["POD", "BACKEND", "CAPTURE", "LISTENERS", "GUARD"]
        var table = TextTable(
            columns: titles.map { TextTable.Column(title: $0) }
                + ["DROPPED", "DRIFT", "HOLES"].map { TextTable.Column(title: $0, alignment: .right) })
        table.separatesRows = false
        table.rows = pods.map { pod in
            let guardState = pod.guarded.map { "\($0.mode ?? "?") \($0.means ?? "none")" } ?? "off"
            return [
                [.init(text: pod.title)], [.init(text: pod.backend ?? "-")], [share(pod.capture)],
                [share(pod.listeners)],
                [.init(text: guardState, style: pod.guarded?.parts.allSatisfy(\.isPresent) ?? true ? .plain : .bad)],
                [.init(text: "\(pod.dropped.reduce(0) { $0 + $1.packets } + (pod.rules?.guardDropped ?? 0))")],
                [.init(text: "\(pod.drift)", style: pod.drift > 0 ? .caution : .plain)],
                [.init(text: "\(pod.exclusions.count)")],
            ]
        }
        return table.render(ink)
    }

    private func share(_ parts: [Part]) -> TextTable.Line {
        let present = parts.count(where: \.isPresent)
        if parts.isEmpty { return .init(text: "-") }
        return present == parts.count ? .init(text: "whole") : .init(text: "\(present) of \(parts.count)", style: .bad)
    }

    private func details(_ ink: Ink) -> String {
        pods.map { pod in
            var lines = pod.missing.map { ink("missing: \($0)", .bad) } + pod.problems.map { ink($0, .bad) }
            if let failure = pod.failure { lines.append(ink("\(pod.phase ?? ""): \(failure)", .bad)) }
            lines += pod.dropped.map { "dropped: \($0.packets) packets \($0.direction), \($0.reason)" }
            if let rules = pod.rules, rules.guardDropped + rules.inboundRefused > 0 {
                lines.append("rules: \(rules.guardDropped) packets kept in, \(rules.inboundRefused) refused")
            }
            lines += pod.drifts.sorted { $0.key < $1.key }.map { "drift: \($0.key), \($0.value) times" }
            lines += pod.exclusions.map { "hole: \($0)" }
            return lines.isEmpty ? "" : "\n\(pod.title)\n" + lines.map { "  \($0)\n" }.joined()
        }.joined()
    }
}
