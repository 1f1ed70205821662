import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Redirection

private let canRun = geteuid() == 0 && access("/usr/sbin/nft", X_OK) == 0

/// What is between a pod and the world: how connections are captured, and how the proxy is known.
enum BypassStage: CaseIterable {
    case socket, rules, rulesByMark
}

/// An attempt to get past the proxy, and what becomes of it.
struct Bypass: Sendable {
    let name: String
    /// Where the proxy gets it, as any other connection; elsewhere nobody does.
    var proxied: Set<BypassStage> = []
    /// Where it reaches addresses outside the mesh, unseen by the proxy. Never enrolled ones: that is the guard's.
    var escaping: Set<BypassStage> = []
    var families: Set<IPAddress.Family> = [.v4, .v6]

    static let everywhere = Set(BypassStage.allCases)
    private static let rules: Set<BypassStage> = [.rules, .rulesByMark]

    /// In the order of BypassProgram. docs/ports-and-privileges.md tells of those that escape.
    static let all: [Bypass] = [
        Bypass(name: "plain", proxied: everywhere),
        Bypass(name: "not blocking", proxied: everywhere),
        Bypass(name: "connected a second time", proxied: everywhere),
        Bypass(name: "bound to its address", proxied: everywhere),
        Bypass(name: "bound to a port", proxied: everywhere),
        Bypass(name: "bound to the port of tunnels", proxied: everywhere),
        Bypass(name: "v4 as v6", proxied: everywhere, families: [.v4]),
        Bypass(name: "MPTCP", proxied: everywhere),
        Bypass(name: "Fast Open", proxied: everywhere),
        Bypass(name: "Fast Open at connect", proxied: everywhere),
        Bypass(name: "io_uring", proxied: everywhere),
        Bypass(name: "a socket that was handed over", proxied: everywhere),
        Bypass(name: "a socket of a parent", proxied: everywhere),
        Bypass(name: "foreign mark", proxied: everywhere),
        Bypass(name: "mark of the proxy", escaping: [.rulesByMark]),
        Bypass(name: "mark of the proxy with more bits", escaping: [.rulesByMark]),
        Bypass(name: "mark of the loop", proxied: [.socket]),
        Bypass(name: "marks of Istio", proxied: everywhere),
        Bypass(name: "mark after connecting", proxied: rules, escaping: [.socket]),
        Bypass(name: "no mark after connecting", proxied: rules, escaping: [.socket]),
        Bypass(name: "bound to its interface", proxied: [.socket]),
        Bypass(name: "mark of the proxy, bound to its interface", escaping: [.rulesByMark]),
        Bypass(name: "mark of the loop, bound to its interface", proxied: [.socket]),
        Bypass(name: "a foreign source", proxied: [.socket]),
        Bypass(name: "outbound port of the peer", proxied: everywhere),
        Bypass(name: "inbound port of the peer", proxied: everywhere),
        Bypass(name: "tunnel port of the peer", proxied: everywhere),
        Bypass(name: "own outbound port"),
        Bypass(name: "own inbound port"),
        Bypass(name: "raw SYN", escaping: [.socket]),
        Bypass(name: "raw segment", escaping: [.socket]),
        Bypass(name: "raw segment, mark of the proxy", escaping: [.socket, .rulesByMark]),
        Bypass(name: "raw SYN, mark of the proxy", escaping: [.socket, .rulesByMark]),
        Bypass(name: "raw SYN, mark with the message", escaping: [.socket, .rulesByMark]),
        Bypass(name: "raw segment of a forged source", escaping: [.socket]),
        Bypass(name: "raw segment of a forged source, mark of the proxy", escaping: [.socket, .rulesByMark]),
        Bypass(name: "frame", escaping: everywhere),
        Bypass(name: "frame with a SYN", escaping: everywhere),
        Bypass(name: "frame past the queue", escaping: everywhere),
        Bypass(name: "frame with further headers", escaping: everywhere, families: [.v6]),
        Bypass(name: "from a nested namespace", escaping: [.socket]),
    ]
}

/// The pod `a` is captured and guarded, `b` guarded, `c` a stranger. The proxy listens and takes what it gets.
final class BypassFixture {
    let base: GuardFixture
    let stage: BypassStage
    let family: IPAddress.Family
    private let cgroup: String
    private let capture: SocketCapture?
    private let podGuard: PodGuard
    private var proxy: [TakingListener] = []

    init(_ stage: BypassStage, _ family: IPAddress.Family) throws {
        self.stage = stage
        self.family = family
        base = try GuardFixture()
        cgroup = try Cgroup.root() + "/" + (base.directory.split(separator: "/").last ?? "culvert")
        guard mkdir(cgroup, 0o755) == 0 else { throw Errno(code: errno, call: "make \(cgroup)") }
        // SYNs with data, and no ceremony before.
        for host in base.network.hosts { _ = try host.shell("sysctl -w net.ipv4.tcp_fastopen=1543") }
        podGuard = try base.guarded()
        capture = stage == .socket ? try SocketCapture(directory: base.pins, proxy: .cgroup(cgroup)) : nil
        var plan = RedirectionPlan()
        if stage == .rules { plan.proxyCgroup = try NFTCgroup(cgroup) }
        try PodRedirection(
            pod: "pod-a", namespace: base.a.namespace, stateDirectory: base.directory, plan: plan, capture: capture,
            pinDirectory: base.pins
        ).install()
        try listen()
    }

    deinit { _ = TestNetwork.shell("umount \(base.directory)/bpf 2>/dev/null; rmdir \(cgroup)") }

    private func listen() throws {
        for (slot, family) in [IPAddress.Family.v4, .v6].enumerated() {
            let options = TCPSocket.ListenOptions(
                transparent: stage == .socket,
                mark: stage == .socket ? RedirectionPlan.loopMark : RedirectionPlan.proxyMark)
            let listener = try base.a.namespace.run {
                try TCPSocket.listen(
                    on: SocketAddress(.loopback(family), port: 15001), dualStack: false, options: options)
            }
            if stage == .socket {
                let map = SocketCapture.listenerMap(ofPod: "pod-a", directory: base.pins)
                guard try ListenerMap.put(listener.raw, at: map, slot: UInt32(slot)) else {
                    throw Errno(code: ENOENT, call: "find \(map)")
                }
            }
            proxy.append(TakingListener(listener))
        }
    }

    /// Runs the attempts against a host; answers what its wire carried, by a test of a text, and what the proxy got: texts with where
    /// they were for.
    func attempt(
        _ names: [String], against host: TestNetwork.Host, _ prefix: String
    ) throws -> (wire: FrameSocket, tap: PacketTap.Snapshot, proxied: [String: SocketAddress], log: String) {
        let wire = try FrameSocket(host.namespace)
        let tap = try host.namespace.run { try PacketTap(interface: "eth0") }
        let listener = try host.listener(8080)
        let program = base.directory + "/bypass.py"
        guard let file = fopen(program, "we") else { throw Errno(code: errno, call: "make \(program)") }
        fputs(BypassProgram.text, file)
        fclose(file)
        let quoted = names.map { "'\($0)'" }.joined(separator: " ")
        let log = try base.a.shell(
            "timeout -s KILL 60 python3 \(program) \(family) \(base.a.address(family)) \(host.address(family)) \(prefix) \(quoted)"
        )
        // What was sent before has arrived, or never will.
        let behind = "behind-\(prefix)."
        let source = try FrameSocket(base.a.namespace)
        try source.send(.v4(from: base.a.v4, to: host.v4, protocol: 17, TestFrame.datagram(1, 2, behind)))
        #expect(eventually { wire.saw(behind) })
        _ = listener.raw
        var proxied: [String: SocketAddress] = [:]
        for listener in proxy {
            for (text, destination) in try listener.take(isTranslated: stage != .socket) { proxied[text] = destination }
        }
        return (wire, tap.snapshot(), proxied, log)
    }
}

/// Takes every connection, and what was sent over it.
private final class TakingListener {
    private let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    /// What was sent so far, and to where.
    func take(isTranslated: Bool) throws -> [(text: String, destination: SocketAddress)] {
        var taken: [(String, SocketAddress)] = []
        while let accepted = try TCPSocket.accept(descriptor.raw) {
            // Some are reset again, as attempts go.
            guard let text = (try? TestConnection.receive(from: accepted, milliseconds: 500)) ?? nil, text != "",
                let destination = isTranslated
                    ? TCPSocket.originalDestination(accepted.raw) : TCPSocket.localAddress(accepted.raw)
            else { continue }
            taken.append((text, destination))
        }
        return taken
    }
}

@Suite("Bypass attempts", .enabled(if: canRun, "needs root and nft: makes network namespaces"))
struct BypassTests {
    private static let ports = [
        "outbound port of the peer": 15001, "inbound port of the peer": 15006, "tunnel port of the peer": 15008,
    ]

    @Test(
        "of no attempt a byte reaches an enrolled pod in plaintext; honest ones are the proxy's",
        arguments: zip(
            [BypassStage.socket, .socket, .rules, .rules, .rulesByMark], [IPAddress.Family.v4, .v6, .v4, .v6, .v4]))
    func enrolled(_ stage: BypassStage, _ family: IPAddress.Family) throws {
        let fixture = try BypassFixture(stage, family)
        let host = fixture.base.b
        let attempts = Bypass.all.filter { $0.families.contains(family) }
        let seen = try fixture.attempt(attempts.map(\.name), against: host, "enrolled-")
        for attempt in attempts {
            let text = "enrolled-\(attempt.name)."
            #expect(!seen.wire.saw(text), "\(attempt.name)")
            let destination = SocketAddress(host.address(family), port: UInt16(Self.ports[attempt.name] ?? 8080))
            #expect(
                seen.proxied[text] == (attempt.proxied.contains(stage) ? destination : nil),
                "\(attempt.name)\n\(seen.log)")
        }
        // Nor anything else that is TCP, whatever is in it.
        #expect(seen.tap.flows.filter { $0.value.payloadBytes > 0 }.isEmpty && seen.tap.dropped == 0)
    }

    /// Permissive, the mesh has nothing against plaintext to strangers. But it is to be the proxy that sends it.
    @Test(
        "what passes the proxy by on its way to a stranger is what the documents say",
        arguments: zip([BypassStage.socket, .rules, .rulesByMark, .socket], [IPAddress.Family.v4, .v4, .v4, .v6]))
    func stranger(_ stage: BypassStage, _ family: IPAddress.Family) throws {
        let fixture = try BypassFixture(stage, family)
        let attempts = Bypass.all.filter { $0.families.contains(family) && $0.proxied != Bypass.everywhere }
        let seen = try fixture.attempt(attempts.map(\.name), against: fixture.base.c, "stranger-")
        for attempt in attempts {
            let isSeen = seen.wire.saw("stranger-\(attempt.name).")
            #expect(isSeen == attempt.escaping.contains(stage), "\(attempt.name)\n\(seen.log)")
        }
    }
}
