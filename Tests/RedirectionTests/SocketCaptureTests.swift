import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import SeededRandom
import Testing

@testable import Redirection

private let reason: Comment = "needs root: hooks connections of its own network namespaces"
private let families = [IPAddress.Family.v4, .v6]
private let isRoot = geteuid() == 0

@Suite("Socket capture: outbound", .enabled(if: isRoot, reason))
struct OutboundCaptureTests {
    /// Of hundreds of destinations, each reaches the proxy with its own name at both ends. CULVERT_DESTINATIONS asks for more.
    @Test("the proxy sees every destination as it was asked for, and the application its own")
    func destinations() throws {
        let fixture = try CaptureFixture()
        let redirection = try fixture.redirection(try fixture.capture())
        try redirection.install()
        let v4 = try fixture.outboundListener(.v4)
        let v6 = try fixture.outboundListener(.v6)
        let count = getenv("CULVERT_DESTINATIONS").flatMap { Int(String(cString: $0)) } ?? 300
        var random = SeededGenerator(seed: 5)
        for index in 0..<count {
            // IPv4, IPv6, and IPv4 as a dual-stack application writes it.
            let kind = index % 3
            let ip =
                kind == 1
                ? IPAddress(v6High: 0x2001_0db8_0000_0000 | random.next() & 0xffff_ffff, low: random.next())
                : IPAddress(v4: 0x0b00_0000 | UInt32(truncatingIfNeeded: random.next()) & 0x00ff_ffff)
            let destination = SocketAddress(ip, port: UInt16.random(in: 1...65535, using: &random))
            let client = try fixture.pod.namespace.run {
                try ApplicationSocket(destination, domain: kind == 0 ? AF_INET : AF_INET6)
            }
            let accepted = kind == 1 ? try TestConnection.accept(v6) : try TestConnection.accept(v4)
            #expect(TCPSocket.localAddress(accepted.raw) == destination)
            #expect(TCPSocket.peerAddress(client.descriptor.raw) == destination)
            #expect(TCPSocket.peerAddress(accepted.raw) == TCPSocket.localAddress(client.descriptor.raw))
            #expect(TCPSocket.peerAddress(accepted.raw)?.ip == (kind == 1 ? fixture.pod.v6 : fixture.pod.v4))
        }
    }

    @Test("bytes go both ways, and nothing of them outside", arguments: families)
    func bytes(_ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(try fixture.capture()).install()
        let listener = try fixture.outboundListener(family)
        let tap = try fixture.peer.namespace.run { try PacketTap(interface: "eth0") }
        let destination = SocketAddress(fixture.peer.address(family), port: 80)
        let client = try fixture.pod.namespace.run { try TestConnection.connect(to: destination) }
        let accepted = try TestConnection.accept(listener)
        try TestConnection.send("ping", over: client)
        #expect(try TestConnection.receive(from: accepted) == "ping")
        try TestConnection.send("pong", over: accepted)
        #expect(try TestConnection.receive(from: client) == "pong")
        #expect(tap.snapshot().flows.isEmpty && tap.snapshot().dropped == 0)
    }

    private static let ways:
        [(name: String, number: Int32, prepare: @Sendable (Int32, CaptureFixture) throws -> Void)] = [
            (
                "bound to its interface", 0,
                { socket, fixture in
                    let index = try fixture.pod.namespace.run { try RouteSocket().linkIndex("eth0") }
                    try ApplicationSocket.set(socket, SOL_SOCKET, SO_BINDTOIFINDEX, Int32(index))
                }
            ),
            ("with another mark", 0, { socket, _ in try ApplicationSocket.set(socket, SOL_SOCKET, SO_MARK, 0x7) }),
            ("MPTCP", 262, { _, _ in }),
            // TCP_FASTOPEN_CONNECT: the SYN waits for the first bytes.
            ("TCP Fast Open", 0, { socket, _ in try ApplicationSocket.set(socket, Int32(IPPROTO_TCP), 30, 1) }),
            ("blocking", 0, { socket, _ in _ = fcntl(socket, F_SETFL, 0) }),
        ]

    @Test("no way of connecting passes it by", arguments: ways.indices, families)
    func bypass(_ index: Int, _ family: IPAddress.Family) throws {
        let (name, number, prepare) = Self.ways[index]
        let fixture = try CaptureFixture()
        try fixture.redirection(try fixture.capture()).install()
        let listener = try fixture.outboundListener(family)
        let tap = try fixture.peer.namespace.run { try PacketTap(interface: "eth0") }
        let destination = SocketAddress(fixture.peer.address(family), port: 80)
        let client = try fixture.pod.namespace.run {
            try ApplicationSocket(destination, domain: family == .v4 ? AF_INET : AF_INET6, protocol: number) {
                try prepare($0, fixture)
            }
        }
        try TestConnection.send("early", over: client.descriptor)
        let accepted = try TestConnection.accept(listener)
        #expect(TCPSocket.localAddress(accepted.raw) == destination, "\(name)")
        #expect(try TestConnection.receive(from: accepted) == "early", "\(name)")
        #expect(tap.snapshot().flows.isEmpty, "\(name)")
    }

    @Test("a socket that was bound to an address first is captured with it", arguments: families)
    func bound(_ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(try fixture.capture()).install()
        let listener = try fixture.outboundListener(family)
        let client = try fixture.pod.namespace.run {
            try TestConnection.connect(
                to: SocketAddress(fixture.peer.address(family), port: 80),
                options: .init(source: fixture.pod.address(family), localPortRange: 40_000...40_100))
        }
        let accepted = try TestConnection.accept(listener)
        #expect(TCPSocket.peerAddress(accepted.raw) == TCPSocket.localAddress(client.raw))
        #expect((40_000...40_100).contains(TCPSocket.peerAddress(accepted.raw)?.port ?? 0))
    }

    @Test("the proxy's own mark is refused to others, and the proxy's cgroup connects freely", arguments: families)
    func exemption(_ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(try fixture.capture()).install()
        let service = try fixture.peer.listener(8080)
        let destination = SocketAddress(fixture.peer.address(family), port: 8080)
        #expect(throws: Errno(code: EPERM, call: "connect")) {
            try fixture.pod.namespace.run {
                _ = try ApplicationSocket(destination, domain: family == .v4 ? AF_INET : AF_INET6) {
                    try ApplicationSocket.set($0, SOL_SOCKET, SO_MARK, Int32(RedirectionPlan.proxyMark))
                }
            }
        }
        let output = try fixture.shellOfProxy("echo hello > /dev/tcp/\(fixture.peer.address(family))/8080")
        #expect(output == "")
        let accepted = try TestConnection.accept(service)
        #expect(try TestConnection.receive(from: accepted) == "hello\n")
    }

    @Test("without a listener connections are refused at once, and nothing leaves", arguments: families)
    func closed(_ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(try fixture.capture()).install()
        let service = try fixture.peer.listener(8080)
        let tap = try fixture.peer.namespace.run { try PacketTap(interface: "eth0") }
        let destination = SocketAddress(fixture.peer.address(family), port: 8080)
        #expect(throws: Errno(code: ECONNREFUSED, call: "connect to \(destination)")) {
            _ = try fixture.pod.namespace.run { try TestConnection.connect(to: destination, milliseconds: 2_000) }.raw
        }
        // It came and went: closed again with its socket.
        do { _ = try fixture.outboundListener(family).raw }
        #expect(throws: Errno(code: ECONNREFUSED, call: "connect to \(destination)")) {
            _ = try fixture.pod.namespace.run { try TestConnection.connect(to: destination, milliseconds: 2_000) }.raw
        }
        #expect(tap.snapshot().flows.isEmpty)
        _ = service.raw
    }

    @Test("other pods, and the pod with itself, connect as ever", arguments: families)
    func others(_ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(try fixture.capture()).install()
        let own = try fixture.pod.listener(8080)
        for address in [fixture.pod.address(family), .loopback(family)] {
            let client = try fixture.pod.namespace.run {
                try TestConnection.connect(to: SocketAddress(address, port: 8080))
            }
            let accepted = try TestConnection.accept(own)
            #expect(TCPSocket.peerAddress(accepted.raw) == TCPSocket.localAddress(client.raw))
        }
        let foreign = try fixture.peer.listener(8081)
        let client = try fixture.peer.namespace.run {
            try TestConnection.connect(to: SocketAddress(fixture.peer.address(family), port: 8081))
        }
        _ = (try TestConnection.accept(foreign).raw, client.raw)
    }
}

@Suite("Socket capture: inbound", .enabled(if: isRoot, reason))
struct InboundCaptureTests {
    @Test("what comes from outside goes to the proxy, which sees the port that was asked for", arguments: families)
    func inbound(_ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(try fixture.capture()).install()
        let application = try fixture.pod.listener(8080)
        let listener = try fixture.inboundListener()
        let destination = SocketAddress(fixture.pod.address(family), port: 8080)
        let client = try fixture.peer.namespace.run { try TestConnection.connect(to: destination) }
        let accepted = try TestConnection.accept(listener)
        #expect(TCPSocket.localAddress(accepted.raw) == destination)
        #expect(TCPSocket.peerAddress(accepted.raw) == TCPSocket.localAddress(client.raw))

        // And on to the application, with the client's own address.
        let delivered = try fixture.deliver(from: fixture.peer.address(family), to: 8080)
        let served = try TestConnection.accept(application)
        #expect(TCPSocket.peerAddress(served.raw)?.ip == fixture.peer.address(family))
        try TestConnection.send("ping", over: delivered)
        #expect(try TestConnection.receive(from: served) == "ping")
        try TestConnection.send("pong", over: served)
        #expect(try TestConnection.receive(from: delivered) == "pong")
    }

    @Test(
        "without a listener it is refused, though the application listens; the tunnel's port is open",
        arguments: families)
    func refused(_ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        try fixture.redirection(try fixture.capture()).install()
        let application = try fixture.pod.listener(8080)
        let tunnel = try fixture.pod.listener(15008)
        #expect(throws: Errno(code: ECONNREFUSED, call: "connection")) {
            _ = try fixture.peer.namespace.run {
                try TestConnection.connect(to: SocketAddress(fixture.pod.address(family), port: 8080))
            }.raw
        }
        let client = try fixture.peer.namespace.run {
            try TestConnection.connect(to: SocketAddress(fixture.pod.address(family), port: 15008))
        }
        _ = (try TestConnection.accept(tunnel).raw, client.raw, application.raw)
    }
}

@Suite("Socket capture: coming, staying and going", .enabled(if: isRoot, reason))
struct SocketCaptureLifecycleTests {
    @Test("leaves no trace, however often it comes and goes")
    func noTrace() throws {
        let fixture = try CaptureFixture()
        let before = try fixture.trace()
        let capture = try fixture.capture()
        let redirection = try fixture.redirection(capture)
        #expect(try redirection.state() == .absent)
        for _ in 0..<2 { try redirection.install() }
        #expect(try redirection.state() == .complete)
        for _ in 0..<2 { try redirection.remove() }
        #expect(try redirection.state() == .absent)
        try capture.removeIfUnused()
        expectSame(before, try fixture.trace())
    }

    @Test(
        "killed after any step, another process finishes either way", arguments: 0...PodRedirection.Step.allCases.count)
    func interrupted(_ steps: Int) throws {
        for finish in [true, false] {
            let fixture = try CaptureFixture()
            let before = try fixture.trace()
            let killed = try fixture.redirection(try fixture.capture())
            for step in PodRedirection.Step.allCases.prefix(steps) { try killed.perform(step) }
            let capture = try fixture.capture()
            let redirection = try fixture.redirection(capture)
            if finish {
                try redirection.install()
                #expect(try redirection.state() == .complete)
            }
            try redirection.remove()
            try capture.removeIfUnused()
            expectSame(before, try fixture.trace())
        }
    }

    @Test("stands without the agent; the next one takes it over with the listeners in place")
    func adoption() throws {
        let fixture = try CaptureFixture()
        var first: SocketCapture? = try fixture.capture()
        try fixture.redirection(first).install()
        let listener = try fixture.outboundListener(.v4)
        let destination = SocketAddress(try #require(IPAddress("11.1.1.1")), port: 80)
        func isCaptured() throws -> Bool {
            let client = try fixture.pod.namespace.run { try TestConnection.connect(to: destination) }
            let accepted = try TestConnection.accept(listener)
            return TCPSocket.localAddress(accepted.raw) == destination && client.raw >= 0
        }
        first = nil
        #expect(first == nil)
        #expect(try isCaptured())
        let second = try fixture.capture()
        #expect(try fixture.redirection(second).state() == .complete)
        #expect(try isCaptured())
        try fixture.redirection(second).install()
        #expect(try isCaptured())
    }

    @Test("a backend takes a pod over from the other, both ways, and the pod is as before in the end")
    func otherBackend() throws {
        let fixture = try CaptureFixture()
        let before = try fixture.trace()
        let capture = try fixture.capture()
        let (rules, sockets) = (try fixture.redirection(nil), try fixture.redirection(capture))
        try rules.install()
        try sockets.install()
        #expect(try sockets.state() == .complete)
        #expect(try fixture.pod.shell("nft list ruleset") == "")
        try rules.install()
        #expect(try rules.state() == .complete)
        #expect(!SocketCapture.isCaptured(pod: "pod-1", directory: fixture.pins))
        try rules.remove()
        try capture.removeIfUnused()
        expectSame(before, try fixture.trace())
    }

    @Test(
        "what somebody else changes is seen and mended",
        arguments: [("lookup", "lookup program"), ("connect6", "connect6 program")])
    func drift(_ pin: String, _ missing: String) throws {
        let fixture = try CaptureFixture()
        let redirection = try fixture.redirection(try fixture.capture())
        try redirection.install()
        let directory = try #require(PinDirectory(existing: fixture.pins))
        let path = (pin == "lookup" ? directory.directory(ofPod: "pod-1") : directory.path) + "/" + pin
        try BPFLink.open(pin: path)?.detach()
        unlink(path)
        #expect(try redirection.state() == .partial([missing]))
        let again = try fixture.redirection(try fixture.capture())
        try again.install()
        #expect(try again.state() == .complete)
    }

    @Test("what is left of a pod whose namespace is gone is cleared away")
    func namespaceGone() throws {
        let fixture = try CaptureFixture()
        let capture = try fixture.capture()
        do {
            let gone = try NetworkNamespace.make()
            try gone.run { try RouteSocket().setUp("lo") }
            try PodRedirection(
                pod: "pod-2", namespace: gone, stateDirectory: fixture.base.directory, capture: capture,
                pinDirectory: fixture.pins
            ).install()
        }
        try PodRedirection.forget(
            pod: "pod-2", stateDirectory: fixture.base.directory, pinDirectory: fixture.pins)
        try capture.removeIfUnused()
        #expect(TestNetwork.shell("ls \(fixture.base.directory)") == "")
    }

    @Test("proves itself with a connection, and leaves nothing of that")
    func selfTest() throws {
        let fixture = try CaptureFixture()
        let before = try fixture.trace()
        let capture = try fixture.capture()
        try capture.selfTest(stateDirectory: fixture.base.directory, pinDirectory: fixture.pins)
        try capture.removeIfUnused()
        expectSame(before, try fixture.trace())
    }

    @Test("a cgroup that is not the proxy's alone is refused")
    func wholeMachine() throws {
        let fixture = try CaptureFixture()
        let root = try Cgroup.root()
        for path in [root, root + "/../unified", "/tmp"] {
            #expect(throws: RedirectionError.self) {
                try SocketCapture(directory: fixture.pins, proxy: .cgroup(path))
            }
        }
    }

    @Test(
        "finds the unified hierarchy among the mounts",
        arguments: [
            ("36 35 0:30 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw", "/sys/fs/cgroup/unified"),
            ("36 35 0:30 / /sys/fs/cgroup rw - cgroup2 none rw", "/sys/fs/cgroup"),
            ("36 35 0:30 /kubepods /sys/fs/cgroup rw - cgroup2 none rw", nil),
            ("36 35 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", nil), ("", nil), ("- cgroup2", nil),
        ])
    func mounts(_ line: String, _ path: String?) {
        #expect(Cgroup.mountPoint(line) == path)
    }
}
