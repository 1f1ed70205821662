import FoundationEssentials
import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

/// `culvert agent status` and `cleanup` beside an agent that was killed, on a node of two pods.
@Suite(
    "culvert agent status and cleanup", .serialized, .timeLimit(.minutes(3)),
    .enabled(if: Transcript.binary != nil && geteuid() == 0, "needs root: makes network namespaces"))
final class AgentCommandTests {
    private let network: TestNetwork
    private let directory: String
    private let cgroup: String
    private var agent: String?

    private var run: String { directory + "/run" }
    private var kubelet: String { cgroup + "-kubelet" }

    init() throws {
        network = try TestNetwork(hosts: 2)
        var template = Array("/tmp/culvert-agent-command-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let mount = TestNetwork.shell("awk '$3 == \"cgroup2\" { print $2; exit }' /proc/mounts")
        cgroup = String(mount.split(separator: "\n").first ?? "") + "/" + directory.split(separator: "/").last!
        try #require(mkdir(cgroup, 0o755) == 0)
        let names = ["web", "peer"]
        try #require(mkdir(kubelet, 0o755) == 0)
        for (name, host) in zip(names, network.hosts) {
            symlink("/proc/\(getpid())/fd/\(host.namespace.descriptor)", "\(directory)/\(name)")
        }
        let pods = zip(names, network.hosts).map { name, host in
            """
              - {uid: \(name)-uid, name: \(name), namespace: shop, node: node-a, addresses: [\(host.v4), "\(host.v6)"],
                 netns: \(directory)/\(name)\(name == "web" ? ", excludeOutboundPorts: [25]" : "")}
            """
        }
        let mesh = """
            trustDomain: culvert.demo
            namespaces:
              - {name: shop, labels: {culvert.dev/mtls-enabled: "true"}, mtlsMode: strict}
            pods:
            \(pods.joined(separator: "\n"))

            """
        try mesh.write(toFile: directory + "/mesh.yaml", atomically: true, encoding: .utf8)
    }

    deinit {
        if let agent { _ = TestNetwork.shell("kill -9 \(agent)") }
        _ = TestNetwork.shell("(umount \(run)/bpf; rm -rf \(directory); rmdir \(cgroup) \(kubelet)) 2>/dev/null")
    }

    /// On the node: what it prints, and `exit N`. Others' network namespaces on this machine are not touched.
    private func culvert(_ command: String) throws -> String {
        let mine = " --netns \(directory)/web --netns \(directory)/peer"
        let command = command + (command.hasPrefix("cleanup") ? mine : "")
        return try network.bridge.run { try Transcript.run("culvert agent \(command) --run-dir \(run)") }
    }

    private func start(_ options: String, proxyCgroup: String? = nil, within wrapper: String = "") throws {
        let command = """
            \(wrapper) \(try #require(Transcript.binary)) agent run --mesh \(directory)/mesh.yaml --node node-a --run-dir \(run) \
            --proxy-cgroup \(proxyCgroup ?? cgroup) \(options) > \(directory)/log 2>&1 & echo $!
            """
        agent = try network.bridge.run { TestNetwork.shell(command) }.split(separator: "\n").first.map(String.init)
        _ = try #require(agent)
        for _ in 0..<600 {
            if try status().pods.filter({ $0.phase == "enrolled" }).count == 2 { return }
            usleep(50_000)
        }
        Issue.record("not enrolled: \(TestNetwork.shell("tail -20 \(directory)/log"))")
    }

    /// -9, in whatever it does.
    private func kill() throws {
        _ = TestNetwork.shell("kill -9 \(try #require(agent))")
        agent = nil
        for _ in 0..<200 where try status().agent.isAlive { usleep(20_000) }
    }

    private struct Status: Decodable {
        struct Agent: Decodable {
            let isAlive: Bool
            let backend: String?
            let backendReason: String?
        }
        struct Probes: Decodable {
            let by: String
            let reason: String
            let kubelet: String?
            let given: UInt64?
            let missing: [String]
        }
        struct Pod: Decodable {
            let name: String?
            let phase: String?
            let backend: String?
            let missing: [String]
            let exclusions: [String]
            let drifts: [String: Int]
            let problems: [String]
        }
        let isSound: Bool
        let agent: Agent
        let probes: Probes?
        let nodeDrifts: [String: Int]
        let pods: [Pod]
    }

    private func status() throws -> Status {
        let text = try culvert("status --format json")
        let json = text.split(separator: "\n").prefix { !$0.hasPrefix("exit ") }.joined(separator: "\n")
        return try JSONDecoder().decode(Status.self, from: Data(json.utf8))
    }

    /// Everything of the pods and the node that Culvert touches.
    private func traces() throws -> String {
        let pods = try network.hosts.map { host in
            try host.shell(
                """
                nft list ruleset; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ss -lntH; \
                tc qdisc show; sysctl net.ipv4.tcp_fwmark_accept net.ipv4.fwmark_reflect net.ipv6.fwmark_reflect \
                net.ipv4.tcp_timestamps
                """)
        }
        let node = try network.bridge.run {
            TestNetwork.shell(
                """
                for i in 0 1; do tc qdisc show dev host$i; tc filter show dev host$i ingress; \
                bpftool net show dev host$i; done 2>&1; nft list ruleset; ls -R \(run) 2>&1
                """)
        }
        return (pods + [node]).joined(separator: "---\n")
    }

    /// The numbers of all links that are pinned.
    private func links() -> [String] {
        TestNetwork.shell("find \(run)/bpf -type f -exec bpftool link show pinned {} \\; 2>/dev/null")
            .split(separator: "\n").filter { $0.first?.isNumber == true }
            .compactMap { $0.split(separator: ":").first.map(String.init) }
    }

    private func areGone(_ links: [String]) -> Bool {
        links.allSatisfy { TestNetwork.shell("bpftool link show id \($0) 2>&1").contains("Error") }
    }

    @Test(
        "after kill -9 the status still says what the kernel has, and cleanup leaves nothing",
        arguments: ["nft", "ebpf"])
    func killed(_ backend: String) throws {
        let before = try traces()
        #expect(try culvert("cleanup") == "Nothing of Culvert is on this node.\nexit 0\n")
        try start("--backend \(backend)")
        let running = try status()
        // No proxy is there: that is all that is missing.
        #expect(running.agent.isAlive && !running.isSound && running.agent.backend == backend)
        #expect(running.agent.backendReason?.isEmpty == false)
        for pod in running.pods {
            #expect(pod.missing.allSatisfy { $0.hasPrefix("listener ") } && !pod.missing.isEmpty, "\(pod.missing)")
            #expect(pod.problems.isEmpty)
        }
        #expect(running.pods.first { $0.name == "web" }?.exclusions == ["outbound:25"])
        let refused = try culvert("cleanup")
        #expect(refused.contains("error: an agent runs in \(run)") && refused.hasSuffix("exit 1\n"))

        // Seen, put back and counted while the agent runs.
        _ = try network.hosts[0].shell("ip -6 rule del pref 100")
        var drifts: [String: Int] = [:]
        for _ in 0..<600 where drifts.isEmpty {
            usleep(50_000)
            drifts = try status().pods.first { $0.name == "web" }?.drifts ?? [:]
        }
        #expect(drifts == ["rule v6": 1])

        try kill()
        _ = try network.hosts[0].shell("ip rule del pref 100")
        let dead = try status()
        #expect(!dead.agent.isAlive)
        #expect(dead.pods.first { $0.name == "web" }?.missing.contains("rule v4") == true)
        let text = try culvert("status")
        #expect(text.contains("NOT RUNNING") && text.contains("missing: rule v4") && text.contains("shop/web"))
        #expect(text.contains("hole: outbound:25") && text.hasSuffix("exit 2\n"), "\(text)")

        let list = try culvert("cleanup --dry-run")
        #expect(list.contains("would remove redirection of pod web-uid") && list.hasSuffix("exit 0\n"), "\(list)")
        #expect(try status().pods.count == 2)
        let pinned = links()
        #expect(pinned.count >= (backend == "ebpf" ? 8 : 4))
        let done = try culvert("cleanup")
        #expect(done.hasSuffix("Nothing of Culvert is left on this node.\nexit 0\n"), "\(done)")
        #expect(areGone(pinned))
        expectSame(before, try traces())
        #expect(try culvert("cleanup") == "Nothing of Culvert is on this node.\nexit 0\n")
    }

    /// As deploy/ runs it, but for its own root file system.
    @Test("in a container it does with its capabilities, a cgroup namespace of its own and a read-only /proc/sys")
    func contained() throws {
        let script = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$0\" \"$@\""
        let held = "sys_admin,+net_admin,+net_raw,+bpf,+perfmon,+sys_ptrace,+dac_override"
        _ = TestNetwork.shell("mkdir -p \(run)/bpf && mount -t bpf bpf \(run)/bpf")
        try start(
            "--backend ebpf", proxyCgroup: "auto",
            within: "unshare --mount --cgroup sh -c '\(script)' setpriv --bounding-set=-all,+\(held)")
        let running = try status()
        #expect(running.agent.backend == "ebpf")
        for pod in running.pods {
            #expect(pod.missing.allSatisfy { $0.hasPrefix("listener ") } && pod.problems.isEmpty, "\(pod)")
        }
        try kill()
        #expect(try culvert("cleanup").hasSuffix("exit 0\n"))
    }

    @Test("probes by a source of their own: seen, put back, and taken away without a trace")
    func probes() throws {
        let before = try traces()
        try start("--backend nft --probes snat --kubelet-cgroup \(kubelet)")
        let running = try status()
        #expect(running.probes?.by == "snat" && running.probes?.kubelet == kubelet && running.probes?.missing == [])
        #expect(try culvert("status").contains("0 given 169.254.7.127,fd16:9254:7127:1337:ffff:ffff:ffff:ffff"))
        let change = "nft flush chain inet culvert_probes leaving"
        #expect(try network.bridge.run { TestNetwork.shell(change + " 2>&1") } == "")
        var drifts: [String: Int] = [:]
        for _ in 0..<600 where drifts.isEmpty {
            usleep(50_000)
            drifts = try status().nodeDrifts
        }
        #expect(drifts == ["probe translation": 1])
        #expect(try status().probes?.missing == [])

        try kill()
        #expect(try status().probes?.missing == [])
        #expect(try network.bridge.run { TestNetwork.shell(change + " 2>&1") } == "")
        #expect(try status().probes?.missing == ["rules for the kubelet's probes"])
        let done = try culvert("cleanup")
        #expect(done.contains("tables inet and bridge culvert_probes") && done.hasSuffix("exit 0\n"), "\(done)")
        expectSame(before, try traces())
    }

    @Test("without any record it finds what is there by name, and says which settings it cannot know")
    func recordsLost() throws {
        try start("--backend nft")
        try kill()
        _ = TestNetwork.shell("rm -r \(run)/pods \(run)/agent.status")
        let pinned = links()
        #expect(pinned.count >= 4)
        let done = try culvert("cleanup")
        #expect(done.hasSuffix("Nothing of Culvert is left on this node.\nexit 0\n"), "\(done)")
        #expect(areGone(pinned))
        #expect(done.contains("of no pod on record; its sysctls"))
        let left = try traces()
        #expect(!left.contains("culvert {") && !left.contains("lookup 133") && !left.contains("table 133"))
        #expect(!left.contains("guard_") && !left.contains("capture_connect") && !left.contains("tcx-"), "\(left)")
    }
}

/// Names the lines that differ.
private func expectSame(_ before: String, _ after: String, _ location: SourceLocation = #_sourceLocation) {
    let difference = after.split(separator: "\n").difference(from: before.split(separator: "\n"))
    let lines = difference.map { change in
        switch change {
        case .insert(_, let line, _): "+ \(line)"
        case .remove(_, let line, _): "- \(line)"
        }
    }
    #expect(lines == [], sourceLocation: location)
}
