import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

private let families: [IPAddress.Family] = [.v4, .v6]

@Suite(
    "Exclusions: what goes around the proxy",
    .enabled(if: GuardFixture.isPossible, "needs root: makes network namespaces"))
struct ExclusionTests {
    private func plan(_ exclusions: PodExclusions) -> RedirectionPlan {
        var plan = RedirectionPlan()
        plan.exclusions = exclusions
        return plan
    }

    /// A connection both ways, and what it says there and back.
    private final class Conversation {
        let client: OwnedDescriptor
        let server: OwnedDescriptor

        init(from source: TestNetwork.Host, to host: TestNetwork.Host, _ address: SocketAddress) throws {
            let listener = try host.namespace.run {
                try TCPSocket.listen(on: SocketAddress(.unspecified(.v6), port: address.port), dualStack: true)
            }
            client = try source.namespace.run { try TestConnection.connect(to: address, milliseconds: 10_000) }
            server = try TestConnection.accept(listener, milliseconds: 10_000)
        }

        func talk() throws -> [String?] {
            try TestConnection.send("ping", over: client)
            let ping = try TestConnection.receive(from: server, milliseconds: 10_000)
            try TestConnection.send("pong", over: server)
            return [ping, try TestConnection.receive(from: client, milliseconds: 10_000)]
        }
    }

    @Test(
        "ports and destinations that are excluded pass without the proxy, others do not", arguments: [false, true],
        families)
    func excluded(_ isEBPF: Bool, _ family: IPAddress.Family) throws {
        let fixture = try CaptureFixture()
        let capture = isEBPF ? try fixture.capture() : nil
        let peer = fixture.peer.address(family)
        try fixture.redirection(
            capture, plan(PodExclusions(inboundPorts: [9001], outboundPorts: [9000]))
        ).install()
        for (source, host, address) in [
            (fixture.pod, fixture.peer, SocketAddress(peer, port: 9000)),
            (fixture.peer, fixture.pod, SocketAddress(fixture.pod.address(family), port: 9001)),
        ] {
            let conversation = try Conversation(from: source, to: host, address)
            #expect(try conversation.talk() == ["ping", "pong"])
        }
        let tap = try fixture.pod.namespace.run { try PacketTap(interface: "eth0") }
        // The proxy does not listen: whatever is led to it is refused.
        for (address, port) in [(peer, 9001 as UInt16), (peer, 80)] {
            #expect(throws: Errno.self) {
                _ = try fixture.pod.namespace.run {
                    try TestConnection.connect(to: SocketAddress(address, port: port), milliseconds: 500)
                }.raw
            }
        }
        let own = try fixture.pod.listener(9000)
        #expect(throws: Errno(code: ECONNREFUSED, call: "connection")) {
            _ = try fixture.peer.namespace.run {
                try TestConnection.connect(to: SocketAddress(fixture.pod.address(family), port: 9000))
            }.raw
        }
        #expect(tap.snapshot().flows.keys.allSatisfy { $0.source.port == 9000 || $0.destination.port == 9000 })
        _ = own.raw
    }

    @Test("a destination that is excluded is reached directly, and its neighbour is not", arguments: [false, true])
    func prefixes(_ isEBPF: Bool) throws {
        let fixture = try CaptureFixture()
        let capture = isEBPF ? try fixture.capture() : nil
        for (address, prefix) in [(fixture.peer.v4, "10.244.9.11/32"), (fixture.peer.v6, "fd00:244:9::/64")] {
            let prefix = try #require(IPPrefix(prefix))
            #expect(prefix.contains(address))
            try fixture.redirection(capture, plan(PodExclusions(outboundPrefixes: [prefix]))).install()
            let conversation = try Conversation(
                from: fixture.pod, to: fixture.peer, SocketAddress(address, port: 7000))
            #expect(try conversation.talk() == ["ping", "pong"])
            // A prefix of the other family holds nothing of this one.
            let other = address.family == .v4 ? "::/8" : "10.244.9.12/32"
            try fixture.redirection(capture, plan(PodExclusions(outboundPrefixes: [try #require(IPPrefix(other))])))
                .install()
            #expect(throws: Errno.self) {
                _ = try fixture.pod.namespace.run {
                    try TestConnection.connect(to: SocketAddress(address, port: 7001), milliseconds: 500)
                }.raw
            }
        }
    }

    @Test(
        "changed on a live pod, a hole that closes ends its own connections and nobody else's",
        arguments: [false, true])
    func change(_ isEBPF: Bool) throws {
        let fixture = try CaptureFixture()
        let before = try fixture.trace()
        let capture = isEBPF ? try fixture.capture() : nil
        try fixture.redirection(capture, plan(PodExclusions(inboundPorts: [9001], outboundPorts: [9000, 9002])))
            .install()
        let listener = try isEBPF ? fixture.outboundListener(.v4) : fixture.base.outboundListener(.v4)
        let captured = try fixture.pod.namespace.run {
            try TestConnection.connect(to: SocketAddress(fixture.peer.v4, port: 80))
        }
        let accepted = try TestConnection.accept(listener)
        let closing = try Conversation(from: fixture.pod, to: fixture.peer, SocketAddress(fixture.peer.v4, port: 9000))
        let staying = try Conversation(from: fixture.pod, to: fixture.peer, SocketAddress(fixture.peer.v6, port: 9002))
        let inbound = try Conversation(from: fixture.peer, to: fixture.pod, SocketAddress(fixture.pod.v4, port: 9001))
        // By another process, which knows of the first plan by the record alone.
        let second = try fixture.redirection(
            isEBPF ? fixture.capture() : nil, plan(PodExclusions(outboundPorts: [9002, 9003])))
        try second.install()
        #expect(try second.state() == .complete)
        #expect(try staying.talk() == ["ping", "pong"])
        try TestConnection.send("on", over: captured)
        #expect(try TestConnection.receive(from: accepted) == "on")
        for socket in [closing.client.raw, inbound.server.raw] {
            #expect(TCPSocket.pendingError(socket)?.code == ECONNABORTED)
        }
        let opened = try Conversation(from: fixture.pod, to: fixture.peer, SocketAddress(fixture.peer.v4, port: 9003))
        #expect(try opened.talk() == ["ping", "pong"])
        try second.remove()
        try (isEBPF ? fixture.capture() : nil)?.removeIfUnused()
        expectSame(before, try fixture.trace())
    }

    @Test("more than the kernel's tables hold are refused before anything is changed")
    func tooMany() throws {
        let fixture = try CaptureFixture()
        let before = try fixture.trace()
        let capture = try fixture.capture()
        let exclusions = PodExclusions(inboundPorts: Set(1...65))
        #expect(throws: RedirectionError.tooManyExclusions(exclusions)) {
            try fixture.redirection(capture, plan(exclusions)).install()
        }
        try fixture.redirection(capture).remove()
        try capture.removeIfUnused()
        expectSame(before, try fixture.trace())
    }

    @Test(
        "as words they are the same when read back, and other words are refused",
        arguments: [
            "inbound", "inbound:x", "inbound:10.0.0.0/8", "outbound:70000", "outbound:10.0.0.1/8", ":1", "up:1",
        ])
    func words(_ wrong: String) throws {
        let prefixes = try ["10.0.0.0/8", "fd00::/8"].map { try #require(IPPrefix($0)) }
        let exclusions = PodExclusions(inboundPorts: [9100, 80], outboundPorts: [25], outboundPrefixes: Set(prefixes))
        #expect(
            exclusions.description == "inbound:80, inbound:9100, outbound:25, outbound:10.0.0.0/8, outbound:fd00::/8")
        var read = PodExclusions()
        for word in exclusions.words {
            let isTaken = read.insert(word: word[...])
            #expect(isTaken)
        }
        #expect(read == exclusions)
        let isTaken = read.insert(word: wrong[...])
        #expect(!isTaken)
    }
}

@Suite("Exclusions and the guard", .enabled(if: GuardFixture.isPossible, "needs root: makes network namespaces"))
struct GuardExclusionTests {
    private func plan(_ exclusions: PodExclusions) -> RedirectionPlan {
        var plan = RedirectionPlan()
        plan.exclusions = exclusions
        return plan
    }

    @Test("a hole between enrolled pods needs both ends; then just that passes", arguments: families)
    func bothEnds(_ family: IPAddress.Family) throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.guarded()
        let exclusions = [PodExclusions(outboundPorts: [9000]), PodExclusions(inboundPorts: [9000])]
        try podGuard.attach(pod: "pod-a", in: fixture.a.namespace, plan: plan(exclusions[0]))
        let tap = try fixture.b.namespace.run { try PacketTap(interface: "eth0") }
        do {
            let listener = try fixture.b.listener(9000)
            let client = try fixture.dial(fixture.b, family, 9000, from: fixture.a)
            #expect(throws: Errno.self) { _ = try TestConnection.accept(listener, milliseconds: 500).raw }
            #expect(tap.snapshot().flows.isEmpty)
            #expect(try podGuard.packets("pod-b", .toPod, .plaintext) > 0)
            _ = client.raw
        }
        try podGuard.attach(pod: "pod-b", in: fixture.b.namespace, plan: plan(exclusions[1]))
        #expect(try fixture.talk(fixture.b, family, 9000, from: fixture.a) == ["ping", "pong"])
        // Neither the other way, nor from the port that is excluded, nor to another.
        for (host, port, source, from) in [
            (fixture.a, 9000 as UInt16, fixture.b, 40_000 as UInt16), (fixture.a, 9001, fixture.b, 9000),
            (fixture.b, 9001, fixture.a, 9000),
        ] {
            let listener = try host.listener(port)
            let client = try source.namespace.run {
                try TCPSocket.connect(
                    to: SocketAddress(host.address(family), port: port),
                    options: .init(source: source.address(family), localPortRange: from...from))
            }
            #expect(throws: Errno.self) { _ = try TestConnection.accept(listener, milliseconds: 500).raw }
            _ = client.raw
        }
    }

    @Test("an excluded destination passes by its address, and closes again", arguments: families)
    func prefix(_ family: IPAddress.Family) throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.guarded()
        let prefix = try #require(IPPrefix(family == .v4 ? "10.244.9.11/32" : "fd00:244:9::b/128"))
        #expect(prefix.contains(fixture.b.address(family)))
        try podGuard.attach(
            pod: "pod-a", in: fixture.a.namespace, plan: plan(PodExclusions(outboundPrefixes: [prefix])))
        try podGuard.attach(pod: "pod-b", in: fixture.b.namespace, plan: plan(PodExclusions(inboundPorts: [9000])))
        #expect(try fixture.talk(fixture.b, family, 9000, from: fixture.a) == ["ping", "pong"])
        try podGuard.attach(pod: "pod-a", in: fixture.a.namespace)
        let listener = try fixture.b.listener(9000)
        let client = try fixture.dial(fixture.b, family, 9000, from: fixture.a)
        #expect(throws: Errno.self) { _ = try TestConnection.accept(listener, milliseconds: 500).raw }
        _ = client.raw
    }
}
