import CLibBPF
import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

private let families: [IPAddress.Family] = [.v4, .v6]

@Suite(
    "Probes with a source of their own", .enabled(if: GuardFixture.isPossible, "needs root: makes network namespaces"),
    .timeLimit(.minutes(3)))
struct ProbeTranslationTests {
    private func rules(_ fixture: ProbeFixture) throws -> String {
        try fixture.node.run { TestNetwork.shell("nft -s list ruleset") }
    }

    private func nft(_ command: String, in fixture: ProbeFixture) throws {
        #expect(try fixture.node.run { TestNetwork.shell("nft \(command) 2>&1") } == "")
    }

    /// Whether a probe of the kubelet's reaches the application now, and as whose.
    private func probed(_ fixture: ProbeFixture, _ family: IPAddress.Family = .v4) throws -> IPAddress? {
        let probe = try fixture.probe(family, from: fixture.kubelet, "read -u 3 line; echo $line")
        defer { _ = probe.finish() }
        var sockets = [fixture.application.raw, fixture.inbound.raw].map {
            pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
        }
        try #require(poll(&sockets, 2, 10_000) == 1)
        let isApplication = sockets[0].revents != 0
        guard isApplication else {
            _ = try TestConnection.accept(fixture.inbound, milliseconds: 1).raw
            return nil
        }
        let accepted = try TestConnection.accept(fixture.application, milliseconds: 1)
        try TestConnection.send("fine\n", over: accepted)
        return TCPSocket.peerAddress(accepted.raw)?.ip
    }

    @Test(
        "the kubelet's reach the application with it and are answered, and nobody else's", arguments: [false, true],
        families)
    func reach(_ isEBPF: Bool, _ family: IPAddress.Family) throws {
        let fixture = try ProbeFixture(isEBPF: isEBPF, translates: true)
        let tap = try fixture.pod.namespace.run { try PacketTap(interface: "eth0") }
        let probe = try fixture.probe(family, from: fixture.kubelet, "echo ask >&3; read -u 3 line; echo $line")
        do {
            let served = try TestConnection.accept(fixture.application, milliseconds: 10_000)
            #expect(TCPSocket.peerAddress(served.raw)?.ip == fixture.source.address(family))
            #expect(try TestConnection.receive(from: served, milliseconds: 10_000) == "ask\n")
            try TestConnection.send("fine\n", over: served)
        }
        #expect(probe.finish() == "fine\n")
        let sources = Set(
            tap.snapshot().flows.keys.filter { $0.destination.port == ProbeFixture.port }.map(\.source.ip))
        #expect(sources == [fixture.source.address(family)])

        // Another process of the node; one below the kubelet's cgroup; a pod.
        let below = fixture.kubelet + "/below"
        try #require(mkdir(below, 0o755) == 0)
        defer { rmdir(below) }
        for (cgroup, namespace) in [(nil, nil), (below, nil), (nil, fixture.peer.namespace)]
            as [(String?, NetworkNamespace?)]
        {
            let other = try fixture.probe(family, from: cgroup, in: namespace, "cat <&3")
            do {
                let led = try TestConnection.accept(fixture.inbound, milliseconds: 10_000)
                #expect(TCPSocket.peerAddress(led.raw)?.ip != fixture.source.address(family))
            }
            _ = other.finish()
        }
        #expect(throws: Errno.self) { _ = try TestConnection.accept(fixture.application, milliseconds: 1).raw }
        let counts = try #require(try ProbeTranslation.look(in: fixture.node)).counts
        #expect(counts.given == 1 && counts.forged == 0 && counts.bridged == 0)
        // The guard has noted none, and need not have.
        #expect(try fixture.podGuard.probeCounts() == ProbeCounts(noted: 0, passed: 0))
    }

    /// The begin of a connection, and something to know it by.
    private static func frame(from source: IPAddress, to destination: IPAddress, _ text: String) -> TestFrame {
        let segment = TestFrame.segment(40_000, 8080, flags: 0x02, text)
        return destination.family == .v4
            ? .v4(from: source, to: destination, segment) : .v6(from: source, to: destination, segment)
    }

    @Test("a guarded pod that forges it is dropped and counted, to whomever", arguments: families)
    func forgedByGuarded(_ family: IPAddress.Family) throws {
        let fixture = try ProbeFixture(isEBPF: false, translates: true)
        let arrivals = try FrameSocket(fixture.peer.namespace)
        let forger = try FrameSocket(fixture.pod.namespace)
        func frame(_ source: IPAddress, _ text: String) -> TestFrame {
            Self.frame(from: source, to: fixture.peer.address(family), text)
        }
        try forger.send(frame(fixture.source.address(family), "forged segment"))
        try forger.send(frame(fixture.pod.address(family), "honest segment"))
        #expect(eventually { arrivals.saw("honest segment") })
        #expect(!arrivals.saw("forged segment"))
        #expect(try fixture.podGuard.packets("pod-1", .fromPod, .forged) == 1)
        // What an earlier agent reserved is anybody's when this one does not use it.
        try fixture.podGuard.reserve(nil)
        try fixture.translation?.remove()
        try forger.send(frame(fixture.source.address(family), "forged again"))
        #expect(eventually { arrivals.saw("forged again") })
    }

    @Test(
        "nor does it reach a strict pod from a pod without a guard, or from a process of the node", arguments: families)
    func forgedByOthers(_ family: IPAddress.Family) throws {
        let fixture = try ProbeFixture(isEBPF: true, translates: true)
        let arrivals = try FrameSocket(fixture.pod.namespace)
        let forger = try FrameSocket(fixture.peer.namespace)
        func frame(_ source: IPAddress, _ text: String) -> TestFrame {
            Self.frame(from: source, to: fixture.pod.address(family), text)
        }
        try forger.send(frame(fixture.source.address(family), "forged segment"))
        try forger.send(frame(fixture.peer.address(family), "honest segment"))
        #expect(eventually { arrivals.saw("honest segment") })
        #expect(!arrivals.saw("forged segment"))
        #expect(try ProbeTranslation.look(in: fixture.node)?.counts.bridged == 1)
        // As root of the node might, by a transparent socket.
        let socket = try fixture.node.run {
            try TCPSocket.connect(
                to: SocketAddress(fixture.pod.address(family), port: ProbeFixture.port),
                options: .init(mark: RedirectionPlan.proxyMark, source: fixture.source.address(family)))
        }
        #expect(try eventually { try ProbeTranslation.look(in: fixture.node)?.counts.forged ?? 0 > 0 })
        #expect(throws: Errno.self) { _ = try TestConnection.accept(fixture.application, milliseconds: 1).raw }
        _ = socket.raw
    }

    @Test(
        "masquerading on the node leaves it as it is; clients of a node port do not get it", arguments: [false, true])
    func masqueraded(_ isEBPF: Bool) throws {
        let fixture = try ProbeFixture(isEBPF: isEBPF, translates: true)
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
        #expect(try probed(fixture) == fixture.source.v4)
        let node = try #require(IPAddress(ProbeFixture.nodeAddress(.v4)))
        let client = try fixture.peer.namespace.run {
            try TestConnection.connect(to: SocketAddress(node, port: 30080), milliseconds: 10_000)
        }
        let led = try TestConnection.accept(fixture.inbound, milliseconds: 10_000)
        #expect(TCPSocket.peerAddress(led.raw)?.ip == node)
        _ = client.raw
    }

    @Test("only of the pods that are named, while there is a kubelet that is trusted")
    func narrow() throws {
        let fixture = try ProbeFixture(isEBPF: true, trusts: false, translates: true)
        let translation = try #require(fixture.translation)
        #expect(try probed(fixture) == nil)
        try translation.update(kubelet: fixture.kubelet, pods: [fixture.peer.v4])
        #expect(try probed(fixture) == nil)
        try translation.update(kubelet: fixture.kubelet, pods: [fixture.peer.v4, fixture.pod.v4])
        #expect(try probed(fixture) == fixture.source.v4)
        // A cgroup that everybody is in is nobody's.
        let root = try Cgroup.root()
        #expect(throws: RedirectionError.self) { try translation.update(kubelet: root, pods: [fixture.pod.v4]) }
        #expect(try probed(fixture) == nil)
        // A kubelet that was started again has another one at the same place.
        try translation.update(kubelet: fixture.kubelet, pods: [fixture.pod.v4])
        try #require(rmdir(fixture.kubelet) == 0 && mkdir(fixture.kubelet, 0o755) == 0)
        #expect(try probed(fixture) == nil)
        try translation.update(kubelet: fixture.kubelet, pods: [fixture.pod.v4])
        #expect(try probed(fixture) == fixture.source.v4)
        #expect(try ProbeTranslation.look(in: fixture.node)?.counts.given == 2)
    }

    @Test("what somebody changes is put back, what is right stays untouched, and tables of others do, too")
    func drift() throws {
        let fixture = try ProbeFixture(isEBPF: true, trusts: false, translates: true)
        let translation = try #require(fixture.translation)
        try nft("add table inet foreign", in: fixture)
        try nft("add chain inet foreign post '{ type nat hook postrouting priority 100; }'", in: fixture)
        let before = try rules(fixture)
        try translation.update(kubelet: fixture.kubelet, pods: [fixture.pod.v4])
        let installed = try rules(fixture)
        try translation.update(kubelet: fixture.kubelet, pods: [fixture.pod.v4])
        #expect(try !translation.repair())
        for change in [
            "flush chain inet culvert_probes translated", "add rule inet culvert_probes leaving accept",
            "delete table bridge culvert_probes", "delete table inet culvert_probes",
        ] {
            try nft(change, in: fixture)
            #expect(
                ProbeTranslation.parts(try ProbeTranslation.look(in: fixture.node), of: translation.digest).missing
                    .count == 1)
            #expect(try translation.repair())
            #expect(
                ProbeTranslation.parts(try ProbeTranslation.look(in: fixture.node), of: translation.digest).missing
                    == [])
            #expect(try !translation.repair())
            #expect(try rules(fixture) == installed)
        }
        #expect(try probed(fixture) == fixture.source.v4)
        // Another agent takes it over, with what was counted.
        let next = try ProbeTranslation(host: fixture.node)
        try next.update(kubelet: fixture.kubelet, pods: [fixture.pod.v4])
        #expect(try ProbeTranslation.look(in: fixture.node)?.counts.given == 1)
        for _ in 0..<2 { try next.remove() }
        expectSame(before, try rules(fixture))
    }

    @Test("cleanup finds it without an agent, and leaves no trace")
    func cleanup() throws {
        let fixture = try ProbeFixture(isEBPF: false, translates: true)
        let other = try rules(fixture).split(separator: "\n").contains { $0.contains("table inet culvert_probes") }
        #expect(other)
        let cleanup = NodeCleanup(
            pods: [], stateDirectory: fixture.base.base.directory, pinDirectory: fixture.base.pins,
            host: fixture.node, paths: ["/nonexistent"])
        let steps = try cleanup.steps().filter { $0.what.contains("culvert_probes") }
        try #require(steps.count == 1)
        for _ in 0..<2 { try steps[0].perform() }
        #expect(try rules(fixture) == "")
        #expect(try cleanup.steps().contains { $0.what.contains("culvert_probes") } == false)
    }

    @Test(
        "a pod whose policy somebody has changed is not as it should be, until it is installed again",
        arguments: [false, true])
    func policy(_ isStrict: Bool) throws {
        let fixture = try CaptureFixture()
        let capture = try fixture.capture()
        var plan = RedirectionPlan()
        plan.isProbed = isStrict
        let redirection = try fixture.redirection(capture, plan)
        let podGuard = try PodGuard(directory: fixture.pins, mode: .enforce, host: fixture.base.network.bridge)
        let ends = try podGuard.attach(pod: "pod-1", in: fixture.pod.namespace, plan: plan)
        try redirection.install()
        #expect(try redirection.missing() + podGuard.missing(of: "pod-1", in: fixture.pod.namespace) == [])
        // As if the namespace had become strict, or open to somebody else's address.
        var other = RedirectionPlan()
        other.isProbed = true
        other.probeSource = ProbeSource("169.254.1.1,fd00::1")
        let forged = try culvert_policy(other)
        let pins = PinDirectory(unchecked: fixture.pins)
        let lookup = pins.directory(ofPod: "pod-1") + "/policy"
        _ = try withPinnedMap(lookup, UInt32.self, culvert_policy.self) { (map) throws(RedirectionError) in
            try map.set(0, forged)
        }
        _ = try withPinnedMap(pins.path + "/guard_policies", UInt32.self, culvert_policy.self) {
            (map) throws(RedirectionError) in try map.set(ends[0], forged)
        }
        #expect(try redirection.missing() == ["exclusions of the lookup"])
        #expect(try podGuard.missing(of: "pod-1", in: fixture.pod.namespace) == ["exclusions of the guard"])
        try redirection.install()
        try podGuard.attach(pod: "pod-1", in: fixture.pod.namespace, plan: plan)
        #expect(try redirection.missing() + podGuard.missing(of: "pod-1", in: fixture.pod.namespace) == [])
        try redirection.remove()
        try capture.removeIfUnused()
        try podGuard.detach(pod: "pod-1")
    }
}

@Suite("Which source the kubelet's probes get")
struct ProbeSourceTests {
    @Test("one that is nobody's")
    func accepted() {
        #expect(ProbeSource.standard.description == "169.254.7.127,fd16:9254:7127:1337:ffff:ffff:ffff:ffff")
        for text in [ProbeSource.standard.description, "169.254.0.1,fe80::1"] {
            #expect(ProbeSource(text)?.description == text)
        }
        for text in [
            "", "169.254.7.127", "169.254.7.127,", "fd00::1,169.254.7.127", "10.0.0.1,fd00::1",
            "169.254.7.127,2001:db8::1",
            "169.254.7.127,::1", "169.254.7.127,ff02::1", "169.254.7.127,fd00::1,fd00::2", "169.253.7.127,fd00::1",
        ] {
            #expect(ProbeSource(text) == nil, "\(text)")
        }
    }
}
