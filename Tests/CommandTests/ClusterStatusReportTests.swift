import FoundationEssentials
import KubernetesAPI
import NodeAgent
import Testing

@testable import culvert

@Suite("culvert status: what is wrong in a cluster")
struct ClusterStatusReportTests {
    private let label = "culvert.dev/mtls-enabled"
    private let now = Date(timeIntervalSince1970: 1_800_000_000)
    private var facts: ClusterStatusReport.Facts

    /// One node with a living agent; one enrolled pod in `shop`, and one of `open`, which is not enrolled.
    init() {
        facts = ClusterStatusReport.Facts()
        facts.nodes = [Node(metadata: ObjectMeta(name: "node-a"))]
        facts.namespaces = [
            Namespace(metadata: ObjectMeta(name: "shop", labels: [label: "true"])),
            Namespace(metadata: ObjectMeta(name: "open")),
        ]
        facts.pods = [pod("web", status: PodEnrolmentStatus(state: .enrolled, backend: "ebpf")), pod("x", in: "open")]
        facts.leases = [lease { _ in }]
    }

    private func pod(
        _ name: String, in namespace: String = "shop", node: String = "node-a", status: PodEnrolmentStatus? = nil
    ) -> Pod {
        var metadata = ObjectMeta(name: name, namespace: namespace, uid: "uid-" + name)
        metadata.annotations[PodEnrolmentStatus.annotation] = status?.text
        return Pod(
            metadata: metadata, spec: PodSpec(nodeName: node), status: PodStatus(phase: .running, podIPs: ["10.0.0.1"]))
    }

    private func lease(at age: TimeInterval = 5, _ change: (inout NodeHeartbeat) -> Void) -> Lease {
        var report = AgentReport(
            pid: 1, node: "node-a", startedAt: 0, backend: .init(chosen: "ebpf", asked: "auto", reason: "it works"),
            probesBy: .init(chosen: "flow", asked: "auto", reason: "it works"),
            guardMode: "enforce", pinDirectory: "", proxyCgroup: nil, proxyKnown: "")
        report.proxies = [.init(pid: 7, refusal: nil)]
        let proxy = ProxyReport(
            version: "1.2.2", writtenAt: now - age, identities: 3, firstExpiry: now + 600, notReadyBecause: nil)
        var beat = NodeHeartbeat(
            report, proxy: proxy, version: "1.2.3", interruption: nil, notReadyBecause: nil, now: now - age)
        beat.pods = ["enrolled": 1]
        change(&beat)
        return beat.lease(namespace: "culvert-system", now: now - age)
    }

    private func report(_ change: (inout ClusterStatusReport.Facts) -> Void = { _ in }) -> ClusterStatusReport {
        var facts = facts
        change(&facts)
        return ClusterStatusReport(
            facts, EnrolmentRule(label: label, ownNamespace: "culvert-system"), now: now)
    }

    private func problems(_ report: ClusterStatusReport) -> [String] {
        report.nodes.flatMap(\.problems) + report.namespaces.flatMap(\.problems)
            + report.pods.filter(\.isProblem).map { "\($0.name) \($0.state): \($0.reason ?? "")" }
    }

    @Test("nothing, when every pod that is to be enrolled is")
    func sound() {
        let report = report()
        #expect(report.isSound)
        #expect(problems(report) == [])
        #expect(report.nodes.map(\.agent) == ["running"])
        #expect(report.nodes.first?.agentVersion == "1.2.3")
        #expect(report.namespaces.map(\.name) == ["shop"])
        #expect(report.pods.map { [$0.name, $0.state, $0.backend] } == [["web", "enrolled", "ebpf"]])
        let text = report.text(Ink(isColoured: false), listsAllPods: false)
        #expect(text.contains("all well"))
        // Pods that are as they should be are listed only when that is asked for.
        #expect(!text.contains("shop/web"))
        #expect(report.text(Ink(isColoured: false), listsAllPods: true).contains("shop/web"))
    }

    @Test("an agent that says nothing any more, or never did; but not on nodes where nothing is to be enrolled")
    func agents() {
        #expect(problems(report { $0.leases = [lease(at: 41) { _ in }] }).count == 1)
        #expect(problems(report { $0.leases = [lease(at: 39) { _ in }] }) == [])
        // A clock that goes ahead is no reason.
        #expect(problems(report { $0.leases = [lease(at: -20) { _ in }] }) == [])
        #expect(problems(report { $0.leases = [] }) == ["no agent has ever run here"])
        let other = report { $0.nodes.append(Node(metadata: ObjectMeta(name: "node-b"))) }
        #expect(other.isSound)
        #expect(other.nodes.map(\.agent) == ["running", "none"])
    }

    @Test("an agent that is not ready, does not follow the cluster, or has no proxy")
    func parts() {
        let waits = report { $0.leases = [lease { $0.notReadyBecause = "pods not listed yet" }] }
        #expect(problems(waits) == ["its agent is not ready: pods not listed yet"])
        let behind = report { $0.leases = [lease { $0.interruption = "pods: timed out" }] }
        #expect(problems(behind) == ["its agent does not follow the cluster: pods: timed out"])
        #expect(
            problems(report { $0.leases = [lease { $0.proxies = 0 }] }) == [
                "no proxy is connected: its pods are closed"
            ])
    }

    @Test("a proxy's version, certificates and troubles, without the authority's word, as it has told its agent")
    func proxy() throws {
        let sound = report()
        #expect(sound.nodes.map(\.proxyVersion) == ["1.2.2"])
        #expect(sound.nodes.map(\.leaves) == [3])
        #expect(sound.nodes.map(\.firstExpiry) == [now + 600])
        let row = try #require(
            sound.text(Ink(isColoured: false), listsAllPods: false).firstMatch(of: /node-a +running.*/))
        #expect(row.output.contains("1.2.2") && row.output.hasSuffix("3"), "\(row.output)")
        let waits = report { $0.leases = [lease { $0.proxy?.notReadyBecause = "authority: it does not answer" }] }
        #expect(problems(waits) == ["its proxy is not ready: authority: it does not answer"])
        let late = report { $0.leases = [lease { $0.proxy?.firstExpiry = 1_800_000_000 }] }
        #expect(problems(late) == ["its proxy has certificates that have expired"])
        let older = report { $0.leases = [lease { $0.proxy = nil }] }
        #expect(older.isSound && older.nodes.map(\.proxyVersion) == [nil])
    }

    @Test(
        "a proxy's word counts while it writes it, and one is connected",
        arguments: [(0, 1, true), (30, 1, true), (31, 1, false), (0, 0, false)])
    func current(age: Double, connected: Int, counts: Bool) {
        var report = AgentReport(
            pid: 1, node: "node-a", startedAt: 0, backend: .init(chosen: "ebpf", asked: "auto", reason: ""),
            probesBy: .init(chosen: "flow", asked: "auto", reason: ""), guardMode: "enforce", pinDirectory: "",
            proxyCgroup: nil, proxyKnown: "")
        report.proxies = Array(repeating: .init(pid: 7, refusal: nil), count: connected)
        let proxy = ProxyReport(
            version: "1", writtenAt: now - age, identities: 0, firstExpiry: nil,
            notReadyBecause: String(repeating: "x", count: 600))
        let beat = NodeHeartbeat(
            report, proxy: proxy, version: "1", interruption: nil, notReadyBecause: nil, now: now)
        #expect((beat.proxy != nil) == counts)
        #expect(proxy.notReadyBecause?.utf8.count == 512)
    }

    @Test("pods that wait, with the reason, and pods that nobody speaks of")
    func pods() {
        let waiting = report {
            $0.pods.append(pod("slow", status: PodEnrolmentStatus(state: .waiting, reason: "no process")))
            $0.pods.append(pod("new"))
            $0.pods.append(pod("far", node: "node-z"))
        }
        #expect(!waiting.isSound)
        #expect(
            problems(waiting) == [
                "far unknown: no agent runs on node-z", "new unknown: the agent of node-a has not told of it",
                "slow waiting: no process",
            ])
    }

    @Test("more pods that say they were enrolled than their agent knows of: anybody may write that on a pod")
    func forged() {
        let forged = report {
            $0.pods.append(pod("liar", status: PodEnrolmentStatus(state: .enrolled, backend: "ebpf")))
        }
        #expect(problems(forged) == ["2 pods say that they are enrolled, and its agent knows of 1"])
    }

    @Test("nothing about pods that are excluded; the reason is told")
    func excluded() {
        let report = report {
            var host = pod("host")
            host.spec.hostNetwork = true
            var out = pod("out")
            out.metadata.labels[label] = "false"
            var new = pod("starting")
            new.status = PodStatus(phase: .pending)
            $0.pods += [host, out, new]
        }
        #expect(report.isSound)
        #expect(
            report.pods.filter { $0.state == "excluded" }.map(\.reason) == [
                "it uses its node's network", "its own label \(label) says false", "it has no address yet",
            ])
    }

    @Test("labels and annotations that are not followed")
    func labels() {
        let report = report {
            $0.namespaces = [
                Namespace(metadata: ObjectMeta(name: "shop", labels: [label: "True"])),
                Namespace(metadata: ObjectMeta(name: "kube-system", labels: [label: "true"])),
                Namespace(
                    metadata: ObjectMeta(
                        name: "other", labels: [label: "true", "culvert.dev/mtls-mode": "STRICT"],
                        annotations: ["culvert.dev/exclude-inbound-ports": "http"])),
            ]
        }
        #expect(report.namespaces.map(\.isEnrolled) == [false, true, false])
        #expect(report.namespaces.map(\.problems.count) == [1, 2, 1])
        #expect(report.namespaces[1].mode == "strict")
        #expect(report.pods.isEmpty)
    }
}
