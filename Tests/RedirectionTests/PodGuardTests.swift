import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

private let reason: Comment = "needs root: attaches programs to its own veths"
private let families = [IPAddress.Family.v4, .v6]
private let attachments = [PodGuard.Attachment.automatic, .filter]
private let port: UInt16 = 8080

@Suite("Pod guard: connections", .enabled(if: GuardFixture.isPossible, reason))
struct PodGuardConnectionTests {
    @Test("no connection is made between enrolled pods but to the tunnel's port", arguments: families, attachments)
    func enrolled(_ family: IPAddress.Family, _ attachment: PodGuard.Attachment) throws {
        let fixture = try GuardFixture()
        let tap = try fixture.b.namespace.run { try PacketTap(interface: "eth0") }
        let podGuard = try fixture.guarded(.enforce, attachment)
        let listener = try fixture.b.listener(port)
        let client = try fixture.dial(fixture.b, family, port, from: fixture.a)
        #expect(try eventually { try podGuard.packets("pod-a", .fromPod, .plaintext) > 0 })
        #expect(try fixture.talk(fixture.b, family, 15008, from: fixture.a) == ["ping", "pong"])
        #expect(!tap.snapshot().flows.keys.contains { $0.source.port == port || $0.destination.port == port })
        #expect(tap.snapshot().dropped == 0)
        _ = (listener.raw, client.raw)
    }

    @Test("connections with pods outside pass both ways", arguments: families)
    func outside(_ family: IPAddress.Family) throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.guarded()
        #expect(try fixture.talk(fixture.c, family, port, from: fixture.a) == ["ping", "pong"])
        #expect(try fixture.talk(fixture.a, family, port, from: fixture.c) == ["ping", "pong"])
        #expect(try podGuard.counts(of: "pod-a").isEmpty)
    }

    @Test("one guard of the two is enough, at either end", arguments: families)
    func oneEnd(_ family: IPAddress.Family) throws {
        for (uid, host, direction) in [(0, "pod-a", GuardDirection.fromPod), (1, "pod-b", .toPod)].map({
            ($0.1, $0.0, $0.2)
        }) {
            let fixture = try GuardFixture()
            let podGuard = try fixture.makeGuard()
            try podGuard.publish([fixture.a.address(family), fixture.b.address(family)])
            try podGuard.attach(pod: uid, in: fixture.network.hosts[host].namespace)
            let listener = try fixture.b.listener(port)
            let tap = try fixture.b.namespace.run { try PacketTap(interface: "eth0") }
            let client = try fixture.dial(fixture.b, family, port, from: fixture.a)
            #expect(try eventually { try podGuard.packets(uid, direction, .plaintext) > 0 })
            #expect(!tap.snapshot().flows.keys.contains { $0.source.port == port || $0.destination.port == port })
            // Taken away, the same connection is made by the next attempt of the kernel.
            try podGuard.detach(pod: uid)
            let server = try TestConnection.accept(listener, milliseconds: 10_000)
            _ = (server.raw, client.raw)
        }
    }

    @Test("of a connection from before, no byte more arrives", arguments: families)
    func live(_ family: IPAddress.Family) throws {
        let fixture = try GuardFixture()
        let listener = try fixture.b.listener(port)
        let client = try fixture.a.namespace.run {
            try TestConnection.connect(to: SocketAddress(fixture.b.address(family), port: port))
        }
        let server = try TestConnection.accept(listener)
        try TestConnection.send("before", over: client)
        #expect(try TestConnection.receive(from: server) == "before")
        let frames = try FrameSocket(fixture.b.namespace)
        let podGuard = try fixture.guarded()
        try TestConnection.send("canary-1", over: client)
        try TestConnection.send("canary-2", over: server)
        #expect(try eventually { try podGuard.packets("pod-a", .fromPod, .plaintext) > 0 })
        #expect(try eventually { try podGuard.packets("pod-b", .fromPod, .plaintext) > 0 })
        #expect(!frames.saw("canary-1"))
        #expect(try TestConnection.receive(from: client, milliseconds: 0) == nil)
    }

    @Test("in audit mode everything passes, and is counted and reported")
    func audit() throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.guarded(.audit)
        #expect(try fixture.talk(fixture.b, .v4, port, from: fixture.a) == ["ping", "pong"])
        #expect(try podGuard.packets("pod-a", .fromPod, .plaintext) > 2)
        #expect(try podGuard.packets("pod-b", .toPod, .plaintext) > 2)
        let event = try #require(try podGuard.takeEvents().first { $0.pod == "pod-a" && $0.direction == .fromPod })
        #expect(!event.isDropped && event.reason == .plaintext)
        #expect(event.source.ip == fixture.a.v4 && event.destination == SocketAddress(fixture.b.v4, port: port))
    }

    @Test("what is refused is sampled once a second, with the pod and both ends")
    func events() throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.guarded()
        let frames = try FrameSocket(fixture.a.namespace)
        for _ in 0..<100 {
            try frames.send(.v6(from: fixture.a.v6, to: fixture.b.v6, TestFrame.segment(4000, 80, "canary")))
        }
        #expect(try eventually { try podGuard.packets("pod-a", .fromPod, .plaintext) == 100 })
        let events = try podGuard.takeEvents()
        let expected = GuardEvent(
            pod: "pod-a", direction: .fromPod, reason: .plaintext, isDropped: true,
            source: SocketAddress(fixture.a.v6, port: 4000), destination: SocketAddress(fixture.b.v6, port: 80))
        #expect(Set(events) == [expected])
        // A machine under load may take more than a second for a hundred frames.
        #expect((1..<20).contains(events.count))
        #expect(try podGuard.takeEvents().isEmpty)
    }
}

@Suite("Pod guard: packets made by hand", .enabled(if: GuardFixture.isPossible, reason))
struct PodGuardPacketTests {
    typealias Make = @Sendable (GuardFixture) -> TestFrame

    private static let text = "culvert-canary"
    private static let segment = TestFrame.segment(4000, port, text)
    /// 8 bytes: next header TCP, no further length, padding.
    private static let padding: [UInt8] = [6, 0, 1, 4, 0, 0, 0, 0]

    static let refused: [(name: String, reason: GuardReason, make: Make)] = [
        ("a SYN", .plaintext, { .v4(from: $0.a.v4, to: $0.b.v4, TestFrame.segment(4000, port, flags: 2, text)) }),
        ("a segment in the middle", .plaintext, { .v6(from: $0.a.v6, to: $0.b.v6, segment) }),
        ("a forged source outside", .plaintext, { .v4(from: $0.c.v4, to: $0.b.v4, segment) }),
        ("a forged source, IPv6", .plaintext, { .v6(from: $0.c.v6, to: $0.b.v6, segment) }),
        (
            "a SYN from the tunnel's port", .plaintext,
            { .v4(from: $0.a.v4, to: $0.b.v4, TestFrame.segment(15008, port, flags: 2, text)) }
        ),
        ("a tag around it", .plaintext, { TestFrame.v4(from: $0.a.v4, to: $0.b.v4, segment).tagged() }),
        ("the first fragment", .fragment, { .v4(from: $0.a.v4, to: $0.b.v4, fragment: 0x2000, segment) }),
        (
            "the first fragment to the tunnel", .fragment,
            {
                .v4(from: $0.a.v4, to: $0.b.v4, fragment: 0x2000, TestFrame.segment(4000, 15008, text))
            }
        ),
        ("a later fragment", .fragment, { .v4(from: $0.a.v4, to: $0.b.v4, fragment: 0x0004, Array(text.utf8)) }),
        (
            "an IPv6 fragment", .fragment,
            {
                .v6(from: $0.a.v6, to: $0.b.v6, next: 44, [6, 0, 0, 1, 0, 0, 0, 9] + segment)
            }
        ),
        (
            "a fragment of further headers", .fragment,
            {
                .v6(from: $0.a.v6, to: $0.b.v6, next: 44, [60, 0, 0, 9, 0, 0, 0, 9] + Array(text.utf8))
            }
        ),
        ("IPv4 options", .options, { .v4(from: $0.a.v4, to: $0.b.v4, options: [1, 1, 1, 0], segment) }),
        (
            "a source route", .options,
            {
                .v4(from: $0.a.v4, to: $0.b.v4, options: [131, 7, 4] + $0.c.v4.bytes + [0], segment)
            }
        ),
        ("hop-by-hop options", .options, { .v6(from: $0.a.v6, to: $0.b.v6, next: 0, padding + segment) }),
        (
            "three extension headers", .options,
            {
                .v6(
                    from: $0.a.v6, to: $0.b.v6, next: 60,
                    [43, 0, 1, 4, 0, 0, 0, 0] + [60, 0, 0, 0, 0, 0, 0, 0] + padding + segment)
            }
        ),
        (
            "more extension headers than anybody needs", .options,
            {
                .v6(
                    from: $0.a.v6, to: $0.b.v6, next: 60,
                    Array(repeating: [60, 0, 1, 4, 0, 0, 0, 0], count: 7).flatMap(\.self) + segment)
            }
        ),
        ("half a TCP header", .malformed, { .v4(from: $0.a.v4, to: $0.b.v4, Array(Self.text.utf8.prefix(8))) }),
        (
            "an extension header that ends too soon", .malformed,
            {
                .v6(from: $0.a.v6, to: $0.b.v6, next: 60, [60, 255, 1, 4, 0, 0, 0, 0] + Array(text.utf8))
            }
        ),
        (
            "more tags than anybody needs", .malformed,
            {
                TestFrame.v4(from: $0.a.v4, to: $0.b.v4, segment).tagged(4)
            }
        ),
    ]

    /// A frame that passes is sent behind: what comes before it has been judged when it arrives, and what was counted as dropped cannot
    /// come after it.
    @Test("is refused between enrolled pods, and counted")
    func refuse() throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.guarded()
        let (source, sink) = (try FrameSocket(fixture.a.namespace), try FrameSocket(fixture.b.namespace))
        for (index, (name, reason, make)) in Self.refused.enumerated() {
            let before = try podGuard.packets("pod-a", .fromPod, reason)
            try source.send(make(fixture))
            #expect(try eventually { try podGuard.packets("pod-a", .fromPod, reason) == before + 1 }, "\(name)")
            let behind = "behind-\(index)."
            try source.send(.v4(from: fixture.a.v4, to: fixture.b.v4, protocol: 17, TestFrame.datagram(1, 2, behind)))
            #expect(eventually { sink.saw(behind) }, "\(name)")
            #expect(!sink.saw(String(Self.text.prefix(8))), "\(name)")
        }
        #expect(try podGuard.counts(of: "pod-a").map(\.packets).reduce(0, +) == UInt64(Self.refused.count))
        #expect(try podGuard.counts(of: "pod-b").isEmpty)
    }

    /// At the destination the source is what tells: the source's own guard may be on another node, or nowhere.
    @Test("is refused at the destination alone just the same")
    func refuseAtDestination() throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.makeGuard()
        try podGuard.publish([fixture.a.v4, fixture.a.v6])
        try podGuard.attach(pod: "pod-b", in: fixture.b.namespace)
        let (source, sink) = (try FrameSocket(fixture.a.namespace), try FrameSocket(fixture.b.namespace))
        for (name, reason, make) in Self.refused where !name.contains("forged") {
            let before = try podGuard.packets("pod-b", .toPod, reason)
            try source.send(make(fixture))
            #expect(try eventually { try podGuard.packets("pod-b", .toPod, reason) == before + 1 }, "\(name)")
            #expect(!sink.saw(String(Self.text.prefix(8))), "\(name)")
        }
    }

    static let passing: [(name: String, make: Make)] = [
        ("UDP", { .v4(from: $0.a.v4, to: $0.b.v4, protocol: 17, TestFrame.datagram(53, 53, text)) }),
        ("UDP, IPv6", { .v6(from: $0.a.v6, to: $0.b.v6, next: 17, TestFrame.datagram(53, 53, text)) }),
        ("a fragment of UDP", { .v4(from: $0.a.v4, to: $0.b.v4, protocol: 17, fragment: 0x2000, Array(text.utf8)) }),
        (
            "a fragment of UDP, IPv6",
            {
                .v6(from: $0.a.v6, to: $0.b.v6, next: 44, [17, 0, 0, 1, 0, 0, 0, 9] + Array(text.utf8))
            }
        ),
        (
            "UDP behind options",
            {
                .v6(from: $0.a.v6, to: $0.b.v6, next: 0, [17, 0, 1, 4, 0, 0, 0, 0] + TestFrame.datagram(53, 53, text))
            }
        ),
        ("ICMP", { .v4(from: $0.a.v4, to: $0.b.v4, protocol: 1, [8, 0, 0, 0, 0, 0, 0, 0] + Array(text.utf8)) }),
        ("the tunnel", { .v4(from: $0.a.v4, to: $0.b.v4, TestFrame.segment(4000, 15008, text)) }),
        ("the tunnel's answers", { .v6(from: $0.a.v6, to: $0.b.v6, TestFrame.segment(15008, 4000, text)) }),
        (
            "the tunnel's own SYN-ACK",
            {
                .v4(from: $0.a.v4, to: $0.b.v4, TestFrame.segment(15008, 4000, flags: 0x12, text))
            }
        ),
        ("TCP in fragments to a pod outside", { .v4(from: $0.a.v4, to: $0.c.v4, fragment: 0x2000, segment) }),
        ("TCP to a pod outside", { .v4(from: $0.a.v4, to: $0.c.v4, segment) }),
        (
            "a frame of no protocol that is known",
            { _ in
                TestFrame(
                    bytes: [UInt8](repeating: 0xff, count: 6) + [2, 0, 0, 0, 0, 9, 0x88, 0xb5] + Array(text.utf8))
            }
        ),
    ]

    @Test("passes")
    func pass() throws {
        let fixture = try GuardFixture()
        let podGuard = try fixture.makeGuard()
        try podGuard.publish([fixture.a.v4, fixture.a.v6, fixture.b.v4, fixture.b.v6])
        // Frames to everybody come to `b`, too: what is for `c` is watched there, with `a` alone guarded.
        try podGuard.attach(pod: "pod-a", in: fixture.a.namespace)
        for (host, passing) in [
            (fixture.c, Self.passing), (fixture.b, Self.passing.filter { !$0.name.contains("outside") }),
        ] {
            if host.v4 == fixture.b.v4 { try podGuard.attach(pod: "pod-b", in: fixture.b.namespace) }
            for (name, make) in passing {
                let (source, sink) = (try FrameSocket(fixture.a.namespace), try FrameSocket(host.namespace))
                try source.send(make(fixture))
                #expect(eventually { sink.saw(Self.text) }, "\(name)")
            }
        }
        #expect(try podGuard.counts(of: "pod-a").isEmpty && podGuard.counts(of: "pod-b").isEmpty)
    }

    @Test("link-local addresses of a pod on this node count as enrolled")
    func linkLocal() throws {
        let fixture = try GuardFixture()
        _ = try fixture.b.shell("ip -6 address add fe80::b/64 dev eth0 nodad")
        let podGuard = try fixture.guarded()
        let source = try FrameSocket(fixture.a.namespace)
        let address = try #require(IPAddress("fe80::b"))
        try source.send(.v6(from: fixture.a.v6, to: address, Self.segment))
        #expect(try eventually { try podGuard.packets("pod-a", .fromPod, .plaintext) == 1 })
        try podGuard.detach(pod: "pod-b")
        #expect(try !podGuard.enrolledAddresses().contains(address))
        #expect(try podGuard.enrolledAddresses().contains(fixture.b.v6))
    }
}
