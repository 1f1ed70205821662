import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

private let canRun = geteuid() == 0 && access("/usr/sbin/nft", X_OK) == 0
private let reason: Comment = "needs root and nft: makes network namespaces"
private let families = [IPAddress.Family.v4, .v6]
private let elsewhere: [IPAddress.Family: IPAddress] = [
    .v4: IPAddress(v4: 0x0a09_0909), .v6: IPAddress(v6High: 0xfd09_0909_0000_0000, low: 9),
]

private func isError(_ codes: Int32...) -> (any Error) -> Bool {
    { error in (error as? Errno).map { codes.contains($0.code) } == true }
}

private func expectTrace(of fixture: PodFixture, _ before: String, _ location: SourceLocation = #_sourceLocation) throws
{
    expectSame(before, try fixture.trace(), location)
}

@Suite("Pod redirection: installing and removing", .enabled(if: canRun, reason))
struct PodRedirectionLifecycleTests {
    @Test("removing leaves no trace, however often both are done")
    func noTrace() throws {
        let fixture = try PodFixture()
        let redirection = try fixture.redirection()
        let before = try fixture.trace()
        #expect(try redirection.state() == .absent)
        #expect(try redirection.counters() == nil)
        for _ in 0..<2 { try redirection.install() }
        #expect(try redirection.state() == .complete)
        #expect(try redirection.counters() == RedirectionCounters(inboundRefused: 0, guardDropped: 0))
        #expect(try fixture.trace() != before)
        for _ in 0..<2 { try redirection.remove() }
        #expect(try redirection.state() == .absent)
        try expectTrace(of: fixture, before)
    }

    @Test("settings that were not the default come back as they were")
    func unusualSettings() throws {
        let fixture = try PodFixture()
        _ = try fixture.pod.shell("sysctl -w net.ipv4.tcp_timestamps=0 net.ipv4.fwmark_reflect=1")
        let before = try fixture.trace()
        try fixture.redirection().install()
        try fixture.redirection().install()
        try fixture.redirection().remove()
        try expectTrace(of: fixture, before)
    }

    @Test(
        "killed after any step, another process finishes either way", arguments: 0...PodRedirection.Step.allCases.count)
    func interrupted(_ steps: Int) throws {
        for finish in [true, false] {
            let fixture = try PodFixture()
            let before = try fixture.trace()
            for step in PodRedirection.Step.allCases.prefix(steps) { try fixture.redirection().perform(step) }
            if 0 < steps && steps < PodRedirection.Step.allCases.count {
                guard case .partial = try fixture.redirection().state() else {
                    Issue.record("not seen as partial after \(steps) steps")
                    continue
                }
            }
            if finish {
                try fixture.redirection().install()
                #expect(try fixture.redirection().state() == .complete)
            }
            try fixture.redirection().remove()
            try expectTrace(of: fixture, before)
        }
    }

    @Test(
        "what somebody else changes is seen and mended",
        arguments: [
            ("nft flush chain inet culvert guard", "unchanged ruleset"), ("nft delete table inet culvert", "ruleset"),
            ("ip rule del pref 100", "rule v4"), ("ip -6 route flush table 133", "route v6"),
            ("sysctl -w net.ipv4.fwmark_reflect=0", "sysctl net/ipv4/fwmark_reflect = 1"),
        ])
    func drift(_ command: String, _ missing: String) throws {
        let fixture = try PodFixture()
        let redirection = try fixture.redirection()
        let before = try fixture.trace()
        try redirection.install()
        _ = try fixture.pod.shell(command)
        #expect(try redirection.state() == .partial([missing]))
        try redirection.install()
        #expect(try redirection.state() == .complete)
        try redirection.remove()
        try expectTrace(of: fixture, before)
    }

    @Test("another plan replaces the rules")
    func otherPlan() throws {
        let fixture = try PodFixture()
        try fixture.redirection().install()
        var plan = RedirectionPlan()
        plan.exclusions.inboundPorts = [9100]
        try fixture.redirection(plan: plan).install()
        #expect(try fixture.redirection().state() == .complete)
        #expect(try fixture.pod.shell("nft list ruleset").contains("9100"))
    }

    @Test("the rules of others stay")
    func others() throws {
        let fixture = try PodFixture()
        _ = try fixture.pod.shell(
            "nft add table ip cni; ip rule add fwmark 0x7 lookup 50; ip rule add fwmark 0x53a lookup 50")
        let before = try fixture.trace()
        #expect(before.contains("table ip cni") && before.contains("0x53a"))
        try fixture.redirection().install()
        try fixture.redirection().remove()
        try expectTrace(of: fixture, before)
    }

    @Test("without IPv6 on the loopback interface, IPv4 alone is complete")
    func withoutIPv6() throws {
        let fixture = try PodFixture()
        _ = try fixture.pod.shell("sysctl -w net.ipv6.conf.lo.disable_ipv6=1")
        let before = try fixture.trace()
        try fixture.redirection().install()
        #expect(try fixture.redirection().state() == .complete)
        try fixture.redirection().remove()
        try expectTrace(of: fixture, before)
    }

    @Test("the record of a namespace the pod had before is not applied to this one")
    func otherNamespace() throws {
        let (first, second) = (try PodFixture(), try PodFixture())
        func redirection(_ fixture: PodFixture) throws -> PodRedirection {
            try PodRedirection(pod: "same", namespace: fixture.pod.namespace, stateDirectory: first.directory)
        }
        _ = try first.pod.shell("sysctl -w net.ipv4.tcp_timestamps=0")
        try redirection(first).install()
        let before = try second.trace()
        #expect(try redirection(second).state() == .absent)
        try redirection(second).install()
        try redirection(second).remove()
        try expectTrace(of: second, before)
        try PodRedirection.forget(pod: "same", stateDirectory: first.directory)
    }

    @Test("a damaged record is named, not guessed at")
    func damagedRecord() throws {
        let fixture = try PodFixture()
        _ = TestNetwork.shell("echo nonsense > \(fixture.directory)/pod-1.redirection")
        #expect { try fixture.redirection().install() } throws: {
            guard case .record(let path, _) = $0 as? RedirectionError else { return false }
            return path == fixture.directory + "/pod-1.redirection"
        }
    }

    @Test("a missing nft is an error that says what to do, before anything is captured")
    func missingNFT() throws {
        let fixture = try PodFixture()
        let redirection = try PodRedirection(
            pod: "pod-1", namespace: fixture.pod.namespace, stateDirectory: fixture.directory, nftPath: "/nonexistent")
        #expect {
            try redirection.install()
        } throws: { error in
            "\(error)" == "nft is not installed (looked for /nonexistent): install the nftables package"
        }
    }

    @Test("UIDs that could leave the directory are refused", arguments: ["", "..", "a/b", ".x", "a b", "é"])
    func invalidPod(_ uid: String) throws {
        let namespace = try NetworkNamespace.current()
        #expect(throws: RedirectionError.invalidPod(uid)) {
            _ = try PodRedirection(pod: uid, namespace: namespace, stateDirectory: "/tmp")
        }
    }
}

@Suite("Pod redirection: traffic", .enabled(if: canRun, reason))
struct PodRedirectionTrafficTests {
    @Test("a connection of the application is the proxy's, with its destination known", arguments: families)
    func outbound(_ family: IPAddress.Family) throws {
        let fixture = try PodFixture()
        try fixture.redirection().install()
        let listener = try fixture.outboundListener(family)
        let destination = SocketAddress(try #require(elsewhere[family]), port: 80)
        let client = try fixture.pod.namespace.run { try TestConnection.connect(to: destination) }
        let accepted = try TestConnection.accept(listener)
        #expect(TCPSocket.originalDestination(accepted.raw) == destination)
        #expect(TCPSocket.peerAddress(accepted.raw)?.ip == fixture.pod.address(family))
        #expect(TCPSocket.peerAddress(client.raw) == destination)
        try TestConnection.send("hello", over: client)
        #expect(try TestConnection.receive(from: accepted) == "hello")
        try TestConnection.send("back", over: accepted)
        #expect(try TestConnection.receive(from: client) == "back")
    }

    @Test("the proxy's own connections leave, the pod's loopback and own addresses are left alone", arguments: families)
    func untouched(_ family: IPAddress.Family) throws {
        let fixture = try PodFixture()
        try fixture.redirection().install()
        let listener = try fixture.peer.listener(9000)
        let proxied = try fixture.pod.namespace.run {
            try TestConnection.connect(
                to: SocketAddress(fixture.peer.address(family), port: 9000),
                options: .init(mark: RedirectionPlan.proxyMark))
        }
        let accepted = try TestConnection.accept(listener)
        try TestConnection.send("out", over: proxied)
        #expect(try TestConnection.receive(from: accepted) == "out")
        #expect(TCPSocket.peerAddress(accepted.raw)?.ip == fixture.pod.address(family))

        let own = try fixture.pod.listener(9001)
        for address in [IPAddress.loopback(family), fixture.pod.address(family)] {
            let client = try fixture.pod.namespace.run {
                try TestConnection.connect(to: SocketAddress(address, port: 9001))
            }
            let server = try TestConnection.accept(own)
            try TestConnection.send("self", over: client)
            #expect(try TestConnection.receive(from: server) == "self")
        }
    }

    @Test("a connection from outside is the proxy's, under the pod's own address and port", arguments: families)
    func inbound(_ family: IPAddress.Family) throws {
        let fixture = try PodFixture()
        try fixture.redirection().install()
        let application = try fixture.pod.listener(8080)
        let proxy = try fixture.inboundListener()
        let address = SocketAddress(fixture.pod.address(family), port: 8080)
        let client = try fixture.peer.namespace.run { try TestConnection.connect(to: address) }
        let accepted = try TestConnection.accept(proxy)
        #expect(TCPSocket.localAddress(accepted.raw) == address)
        #expect(TCPSocket.peerAddress(accepted.raw) == TCPSocket.localAddress(client.raw))
        try TestConnection.send("plain", over: client)
        #expect(try TestConnection.receive(from: accepted) == "plain")
        try TestConnection.send("answer", over: accepted)
        #expect(try TestConnection.receive(from: client) == "answer")
        #expect(throws: Errno.self) { _ = try TestConnection.accept(application, milliseconds: 50) }
    }

    @Test("tunnels reach their listener directly", arguments: families)
    func tunnel(_ family: IPAddress.Family) throws {
        let fixture = try PodFixture()
        try fixture.redirection().install()
        let listener = try fixture.pod.namespace.run {
            try TCPSocket.listen(
                on: SocketAddress(.unspecified(.v6), port: 15008), dualStack: true, options: PodFixture.proxyMark)
        }
        let client = try fixture.peer.namespace.run {
            try TestConnection.connect(to: SocketAddress(fixture.pod.address(family), port: 15008))
        }
        let accepted = try TestConnection.accept(listener)
        try TestConnection.send("tls", over: accepted)
        #expect(try TestConnection.receive(from: client) == "tls")
    }

    @Test(
        "the proxy reaches the application with the client's address, and a closed port refuses at once",
        arguments: families)
    func source(_ family: IPAddress.Family) throws {
        let fixture = try PodFixture()
        try fixture.redirection().install()
        let application = try fixture.pod.listener(8080)
        let client = fixture.peer.address(family)
        let options = TCPSocket.ConnectOptions(
            mark: RedirectionPlan.loopMark, source: client, bindToLoopback: true, localPortRange: 61_000...65_535)
        let connection = try fixture.pod.namespace.run {
            try TestConnection.connect(
                to: SocketAddress(fixture.pod.address(family), port: 8080), options: options)
        }
        let accepted = try TestConnection.accept(application)
        #expect(TCPSocket.peerAddress(accepted.raw)?.ip == client)
        try TestConnection.send("request", over: connection)
        #expect(try TestConnection.receive(from: accepted) == "request")
        try TestConnection.send("response", over: accepted)
        #expect(try TestConnection.receive(from: connection) == "response")

        #expect {
            _ = try fixture.pod.namespace.run {
                try TestConnection.connect(
                    to: SocketAddress(fixture.pod.address(family), port: 8081), options: options)
            }
        } throws: {
            isError(ECONNREFUSED)($0)
        }
    }

    @Test("without a proxy both directions are refused at once, and the application gets nothing", arguments: families)
    func noProxy(_ family: IPAddress.Family) throws {
        let fixture = try PodFixture()
        let redirection = try fixture.redirection()
        try redirection.install()
        let application = try fixture.pod.listener(8080)
        let outside = try fixture.peer.listener(9000)
        #expect {
            _ = try fixture.pod.namespace.run {
                try TestConnection.connect(to: SocketAddress(fixture.peer.address(family), port: 9000))
            }
        } throws: {
            isError(ECONNREFUSED)($0)
        }
        #expect {
            _ = try fixture.peer.namespace.run {
                try TestConnection.connect(to: SocketAddress(fixture.pod.address(family), port: 8080))
            }
        } throws: {
            isError(ECONNREFUSED)($0)
        }
        #expect(try redirection.counters()?.inboundRefused == 1)
        #expect(throws: Errno.self) { _ = try TestConnection.accept(application, milliseconds: 50) }
        #expect(throws: Errno.self) { _ = try TestConnection.accept(outside, milliseconds: 50) }
    }

    @Test(
        "an old connection leaks nothing, is reset, and what is within the pod or the proxy's lives on",
        arguments: families)
    func oldConnections(_ family: IPAddress.Family) throws {
        let fixture = try PodFixture()
        let outside = try fixture.peer.listener(9000)
        let inside = try fixture.pod.listener(9001)
        let remote = SocketAddress(fixture.peer.address(family), port: 9000)
        func connect(_ address: SocketAddress, mark: UInt32? = nil) throws -> OwnedDescriptor {
            try fixture.pod.namespace.run { try TestConnection.connect(to: address, options: .init(mark: mark)) }
        }
        let old = try connect(remote)
        let oldPeer = try TestConnection.accept(outside)
        let proxied = try connect(remote, mark: RedirectionPlan.proxyMark)
        let proxiedPeer = try TestConnection.accept(outside)
        let within = try connect(SocketAddress(fixture.pod.address(family), port: 9001))
        let withinPeer = try TestConnection.accept(inside)
        let inbound = try fixture.peer.namespace.run {
            try TestConnection.connect(to: SocketAddress(fixture.pod.address(family), port: 9001))
        }
        let inboundPeer = try TestConnection.accept(inside)

        let redirection = try fixture.redirection()
        try redirection.install()
        try TestConnection.send("secret", over: old)
        try TestConnection.send("secret", over: inboundPeer)
        #expect(try TestConnection.receive(from: oldPeer, milliseconds: 600) == nil)
        #expect(try TestConnection.receive(from: inbound, milliseconds: 1) == nil)
        #expect(try #require(try redirection.counters()).guardDropped >= 2)

        #expect(try redirection.destroyConnections() == 2)
        for socket in [old.raw, oldPeer.raw, inbound.raw, inboundPeer.raw] {
            var byte: UInt8 = 0
            #expect(recv(socket, &byte, 1, 0) == -1 && [ECONNRESET, ECONNABORTED].contains(errno))
        }
        try TestConnection.send("proxied", over: proxied)
        #expect(try TestConnection.receive(from: proxiedPeer) == "proxied")
        try TestConnection.send("within", over: within)
        #expect(try TestConnection.receive(from: withinPeer) == "within")
        #expect(try redirection.destroyConnections() == 0)
    }

    @Test("the guard alone holds a connection back that no rule redirects")
    func guardAlone() throws {
        let fixture = try PodFixture()
        let redirection = try fixture.redirection()
        try redirection.install()
        _ = try fixture.pod.shell("nft flush chain inet culvert outbound")
        let outside = try fixture.peer.listener(9000)
        #expect {
            _ = try fixture.pod.namespace.run {
                try TestConnection.connect(to: SocketAddress(fixture.peer.v4, port: 9000), milliseconds: 300)
            }
        } throws: {
            isError(ETIMEDOUT)($0)
        }
        #expect(throws: Errno.self) { _ = try TestConnection.accept(outside, milliseconds: 1) }
        #expect(try #require(try redirection.counters()).guardDropped >= 1)
    }

    @Test("excluded ports pass both ways without the proxy", arguments: families)
    func excluded(_ family: IPAddress.Family) throws {
        let fixture = try PodFixture()
        var plan = RedirectionPlan()
        plan.exclusions.outboundPorts = [9000]
        plan.exclusions.inboundPorts = [9001]
        try fixture.redirection(plan: plan).install()
        for (client, server, port) in [
            (fixture.pod, fixture.peer, 9000 as UInt16), (fixture.peer, fixture.pod, 9001),
        ] {
            let listener = try server.listener(port)
            let connection = try client.namespace.run {
                try TestConnection.connect(to: SocketAddress(server.address(family), port: port))
            }
            let accepted = try TestConnection.accept(listener)
            try TestConnection.send("there", over: connection)
            #expect(try TestConnection.receive(from: accepted) == "there")
        }
    }

    @Test("UDP passes as before")
    func datagrams() throws {
        let fixture = try PodFixture()
        try fixture.redirection().install()
        func datagramSocket(_ host: TestNetwork.Host) throws -> Int32 {
            try host.namespace.run { socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0) }
        }
        let (sender, receiver) = (try datagramSocket(fixture.pod), try datagramSocket(fixture.peer))
        defer { for socket in [sender, receiver] { close(socket) } }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(53).bigEndian
        address.sin_addr.s_addr = try #require(fixture.peer.v4.v4).bigEndian
        try withUnsafePointer(to: address) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                let length = socklen_t(MemoryLayout<sockaddr_in>.size)
                try #require(bind(receiver, $0, length) == 0)
                #expect(sendto(sender, "dns", 3, 0, $0, length) == 3)
            }
        }
        var entry = pollfd(fd: receiver, events: Int16(POLLIN), revents: 0)
        #expect(poll(&entry, 1, 1_000) == 1)
    }
}
