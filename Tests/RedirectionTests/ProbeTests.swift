import CLibBPF
import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

private let families: [IPAddress.Family] = [.v4, .v6]

@Suite(
    "Probes of strict pods", .enabled(if: GuardFixture.isPossible, "needs root: makes network namespaces"),
    .timeLimit(.minutes(3)))
struct ProbeTests {
    private static let request = "GET /healthz HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"
    private static let speak =
        "printf \"GET /healthz HTTP/1.1\\r\\nHost: pod\\r\\nConnection: close\\r\\n\\r\\n\" >&3; cat <&3"

    /// How many new connections to the application's port have arrived in the pod, by who sent them.
    private func opened(_ tap: PacketTap, in fixture: ProbeFixture) -> Set<IPAddress> {
        Set(tap.snapshot().flows.keys.filter { $0.destination.port == ProbeFixture.port }.map(\.source.ip))
    }

    @Test("the kubelet's reach the application, and nobody else's of the node", arguments: [false, true], families)
    func http(_ isEBPF: Bool, _ family: IPAddress.Family) throws {
        let fixture = try ProbeFixture(isEBPF: isEBPF)
        let node = try #require(IPAddress(ProbeFixture.nodeAddress(family)))
        let tap = try fixture.pod.namespace.run { try PacketTap(interface: "eth0") }
        let probe = try fixture.probe(family, from: fixture.kubelet, Self.speak)
        let served = try TestConnection.accept(fixture.application, milliseconds: 10_000)
        #expect(TCPSocket.peerAddress(served.raw)?.ip == node)
        var received = ""
        while received.utf8.count < Self.request.utf8.count,
            let more = try TestConnection.receive(from: served, milliseconds: 10_000), !more.isEmpty
        {
            received += more
        }
        #expect(received == Self.request)
        try TestConnection.send("HTTP/1.1 200 OK\r\n\r\nfine", over: served)
        shutdown(served.raw, Int32(SHUT_WR))
        #expect(probe.finish() == "HTTP/1.1 200 OK\r\n\r\nfine")
        #expect(try fixture.podGuard.probeCounts() == ProbeCounts(noted: 1, passed: 1))
        let payload = tap.snapshot().flows.filter { $0.key.source.ip == node }.values.map(\.payloadBytes).reduce(0, +)
        #expect(payload == UInt64(Self.request.utf8.count))

        // Another process of the node, with the same address; one below the kubelet's cgroup; a pod.
        let below = fixture.kubelet + "/below"
        try #require(mkdir(below, 0o755) == 0)
        defer { rmdir(below) }
        for (cgroup, namespace) in [(nil, nil), (below, nil), (nil, fixture.peer.namespace)]
            as [(String?, NetworkNamespace?)]
        {
            let other = try fixture.probe(family, from: cgroup, in: namespace, "cat <&3")
            do {
                let led = try TestConnection.accept(fixture.inbound, milliseconds: 10_000)
                #expect(TCPSocket.localAddress(led.raw) == SocketAddress(fixture.pod.address(family), port: 8080))
            }
            _ = other.finish()
        }
        #expect(throws: Errno.self) { _ = try TestConnection.accept(fixture.application, milliseconds: 1).raw }
        #expect(try fixture.podGuard.probeCounts() == ProbeCounts(noted: 1, passed: 1))
    }

    @Test(
        "a raw TCP probe is open and shut; of a closed port it is refused at once", arguments: [false, true], families)
    func tcp(_ isEBPF: Bool, _ family: IPAddress.Family) throws {
        let fixture = try ProbeFixture(isEBPF: isEBPF)
        #expect(try fixture.probe(family, from: fixture.kubelet, "echo open").finish() == "open\n")
        _ = try TestConnection.accept(fixture.application, milliseconds: 10_000).raw
        let closed = try fixture.node.run {
            TestNetwork.shell(
                "bash -c 'echo $$ > \(fixture.kubelet)/cgroup.procs; : < /dev/tcp/\(fixture.pod.address(family))/81' 2>&1"
            )
        }
        #expect(closed.contains("refused"))
        #expect(throws: Errno.self) { _ = try TestConnection.accept(fixture.inbound, milliseconds: 1).raw }
    }

    @Test("a connection lives on when nothing is known of it any more", arguments: [false, true])
    func longLived(_ isEBPF: Bool) throws {
        let fixture = try ProbeFixture(isEBPF: isEBPF)
        let probe = try fixture.probe(
            .v4, from: fixture.kubelet, "read -u 3 line; echo $line; echo more >&3; read -u 3 line; echo $line")
        let served = try TestConnection.accept(fixture.application, milliseconds: 10_000)
        // As eviction would, and a kubelet that has gone.
        let pin = cbpf_open_pin(fixture.base.pins + "/v\(CULVERT_BPF_VERSION)/node_probes")
        try #require(pin >= 0)
        let map = OwnedDescriptor(adopting: pin)
        let noted = BPFMap<culvert_flow, UInt64>(descriptor: map.raw, name: "node_probes")
        #expect(try noted.keys(blank: culvert_flow()).count == 1)
        for key in try noted.keys(blank: culvert_flow()) { try noted.remove(key) }
        try fixture.podGuard.trust(kubelet: nil)
        try TestConnection.send("one\n", over: served)
        #expect(try TestConnection.receive(from: served, milliseconds: 10_000) == "more\n")
        try TestConnection.send("two\n", over: served)
        #expect(probe.finish() == "one\ntwo\n")
    }

    @Test("masqueraded on the node they are recognised all the same", arguments: [false, true])
    func masqueraded(_ isEBPF: Bool) throws {
        let fixture = try ProbeFixture(isEBPF: isEBPF)
        _ = try fixture.node.run {
            TestNetwork.shell(
                """
                ip addr add 10.244.9.2/24 dev br0; nft add table ip cni; \
                nft add chain ip cni post "{ type nat hook postrouting priority 100; }"; \
                nft add rule ip cni post ip daddr 10.244.9.10 snat to 10.244.9.2
                """)
        }
        #expect(try fixture.probe(.v4, from: fixture.kubelet, "echo open").finish() == "open\n")
        let served = try TestConnection.accept(fixture.application, milliseconds: 10_000)
        #expect(TCPSocket.peerAddress(served.raw)?.ip == IPAddress("10.244.9.2"))
        #expect(try fixture.podGuard.probeCounts().missed == 0)
    }

    @Test(
        "a client of a node port, with the node's address as its source, is nobody's probe", arguments: [false, true])
    func nodePort(_ isEBPF: Bool) throws {
        let fixture = try ProbeFixture(isEBPF: isEBPF)
        let output = try fixture.node.run {
            TestNetwork.shell(
                """
                sysctl -qw net.ipv4.ip_forward=1; nft add table ip services; \
                nft add chain ip services pre "{ type nat hook prerouting priority -100; }"; \
                nft add chain ip services post "{ type nat hook postrouting priority 100; }"; \
                nft add rule ip services pre tcp dport 30080 dnat to 10.244.9.10:8080; \
                nft add rule ip services post ip daddr 10.244.9.10 masquerade
                """)
        }
        #expect(output == "")
        let tap = try fixture.pod.namespace.run { try PacketTap(interface: "eth0") }
        let node = try #require(IPAddress(ProbeFixture.nodeAddress(.v4)))
        let client = try fixture.peer.namespace.run {
            try TestConnection.connect(to: SocketAddress(node, port: 30080), milliseconds: 10_000)
        }
        let led = try TestConnection.accept(fixture.inbound, milliseconds: 10_000)
        #expect(TCPSocket.peerAddress(led.raw)?.ip == node)
        #expect(opened(tap, in: fixture) == [node])
        #expect(throws: Errno.self) { _ = try TestConnection.accept(fixture.application, milliseconds: 1).raw }
        #expect(try fixture.podGuard.probeCounts() == ProbeCounts(noted: 0, passed: 0))
        _ = client.raw
    }

    @Test("a pod that claims the node's address is not taken for the kubelet", arguments: [false, true], families)
    func forged(_ isEBPF: Bool, _ family: IPAddress.Family) throws {
        let fixture = try ProbeFixture(isEBPF: isEBPF)
        let node = try #require(IPAddress(ProbeFixture.nodeAddress(family)))
        // Who it may be on the link is asked under an address of its own.
        let honest = try fixture.probe(family, from: nil, in: fixture.peer.namespace, "cat <&3")
        do { _ = try TestConnection.accept(fixture.inbound, milliseconds: 10_000).raw }
        _ = honest.finish()
        let tap = try fixture.pod.namespace.run { try PacketTap(interface: "eth0") }
        let socket = try fixture.peer.namespace.run {
            try TCPSocket.connect(
                to: SocketAddress(fixture.pod.address(family), port: ProbeFixture.port),
                options: .init(mark: RedirectionPlan.proxyMark, source: node))
        }
        for _ in 0..<1000 where opened(tap, in: fixture).isEmpty { usleep(10_000) }
        #expect(opened(tap, in: fixture) == [node])
        #expect(try fixture.podGuard.probeCounts() == ProbeCounts(noted: 0, passed: 0))
        _ = socket.raw
    }

    @Test(
        "without a kubelet that is trusted, and of a pod that is not strict, all are led to the proxy",
        arguments: [false, true])
    func untrusted(_ isEBPF: Bool) throws {
        let fixture = try ProbeFixture(isEBPF: isEBPF, trusts: false)
        let probe = try fixture.probe(.v4, from: fixture.kubelet, "cat <&3")
        do { _ = try TestConnection.accept(fixture.inbound, milliseconds: 10_000).raw }
        _ = probe.finish()
        try fixture.podGuard.trust(kubelet: fixture.kubelet)
        try fixture.podGuard.attach(pod: "pod-1", in: fixture.pod.namespace)
        let permissive = try fixture.probe(.v4, from: fixture.kubelet, "cat <&3")
        do { _ = try TestConnection.accept(fixture.inbound, milliseconds: 10_000).raw }
        _ = permissive.finish()
        #expect(try fixture.podGuard.probeCounts() == ProbeCounts(noted: 0, passed: 0))
    }

    @Test("the exemption leaves no trace in the pod or on the node", arguments: [false, true])
    func noTrace(_ isEBPF: Bool) throws {
        let fixture = try CaptureFixture()
        let before = try fixture.trace()
        let capture = isEBPF ? try fixture.capture() : nil
        let marker = isEBPF ? nil : try ProbeMarker(directory: fixture.pins)
        var plan = RedirectionPlan()
        plan.isProbed = true
        let redirection = try PodRedirection(
            pod: "pod-1", namespace: fixture.pod.namespace, stateDirectory: fixture.base.directory, plan: plan,
            capture: capture, pinDirectory: fixture.pins, marker: marker)
        for _ in 0..<2 { try redirection.install() }
        #expect(try redirection.state() == .complete)
        if !isEBPF {
            try ProbeMarker.release(pod: "pod-1", directory: fixture.pins)
            guard case .partial(let missing) = try redirection.state() else {
                Issue.record("not seen as partial")
                return
            }
            #expect(missing.count == 1 && missing[0].hasPrefix("probe program on interface"))
            try redirection.install()
            #expect(try redirection.state() == .complete)
        }
        try redirection.remove()
        try capture?.removeIfUnused()
        marker?.removeIfUnused()
        expectSame(before, try fixture.trace())
    }
}

@Suite("Which cgroup is the kubelet's")
struct KubeletTests {
    private func candidate(
        _ id: Int32, user: UInt32 = 0, isHosts: Bool = true, _ cgroup: String = "/system.slice/kubelet.service"
    ) -> Kubelet.Candidate {
        Kubelet.Candidate(id: id, user: user, isHosts: isHosts, cgroup: cgroup)
    }

    @Test("that of the one process of the machine that is called so, whatever containers call theirs")
    func chosen() throws {
        let pod = "/kubepods.slice/pod1"
        #expect(try Kubelet.choose([]) == nil)
        #expect(try Kubelet.choose([candidate(1), candidate(2)]) == "/system.slice/kubelet.service")
        #expect(
            try Kubelet.choose([candidate(1, isHosts: false, pod), candidate(2), candidate(3, user: 1000, pod)])
                == "/system.slice/kubelet.service")
        #expect(try Kubelet.choose([candidate(1, isHosts: false, pod), candidate(3, user: 1000, pod)]) == nil)
        #expect(throws: RedirectionError.self) { try Kubelet.choose([candidate(1), candidate(2, "/other")]) }
    }

    @Test("a process is read from the kernel with its cgroup", .enabled(if: GuardFixture.isPossible, "needs root"))
    func read() throws {
        let directory = try CaptureFixture()
        let program = directory.base.directory + "/kubelet"
        let output = TestNetwork.shell(
            """
            cp "$(command -v sleep)" \(program); bash -c 'echo $$ > \(directory.cgroup)/cgroup.procs; exec \(program) 60' \
            > /dev/null 2>&1 & \
            echo $!
            """)
        let id = try #require(Int32(output.split(separator: "\n").last ?? ""))
        defer {
            kill(id, SIGKILL)
            for _ in 0..<500 where access("/proc/\(id)/comm", F_OK) == 0 { usleep(10_000) }
        }
        for _ in 0..<500 where Kubelet.candidate(id) == nil { usleep(10_000) }
        let candidate = try #require(Kubelet.candidate(id))
        #expect(candidate.user == geteuid())
        #expect(try Cgroup.root() + candidate.cgroup == directory.cgroup)
        #expect(Kubelet.candidate(getpid()) == nil)
    }

    @Test("the whole machine's is refused, and what is no cgroup", .enabled(if: GuardFixture.isPossible, "needs root"))
    func wholeMachine() throws {
        let root = try Cgroup.root()
        for path in [root, root + "/../unified", "/tmp", "/nonexistent"] {
            #expect(throws: RedirectionError.self) { try Kubelet.identifier(of: path) }
        }
    }
}
