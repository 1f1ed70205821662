import Glibc
import IPAddressing
import LinuxNetworking
import Logging
import NamespaceKit
import Synchronization
import Testing

@testable import NodeAgent
@testable import Redirection

enum Backend: String, CaseIterable, Sendable {
    case nft, ebpf
}

/// Two pods of one node, `web` and `peer`, which an agent of one backend enrols, with its guard; and all that it could leave behind.
///
/// The proxy's cgroup has nobody in it: connections that are captured are refused.
final class EnrolmentFixture: Sendable {
    static let isPossible = geteuid() == 0 && access("/usr/sbin/nft", X_OK) == 0

    let backend: Backend
    let network: TestNetwork
    let directory: ScratchDirectory
    private let cgroup: String

    var web: TestNetwork.Host { network.hosts[0] }
    var peer: TestNetwork.Host { network.hosts[1] }
    var pins: String { directory.path + "/bpf/culvert" }
    var service: SocketAddress { SocketAddress(peer.v4, port: 8080) }

    init(_ backend: Backend) throws {
        self.backend = backend
        network = try TestNetwork(hosts: 2)
        directory = try ScratchDirectory()
        cgroup = try Cgroup.root() + "/" + (directory.path.split(separator: "/").last ?? "culvert")
        guard mkdir(cgroup, 0o755) == 0 else { throw Errno(code: errno, call: "make \(cgroup)") }
        // What the kernel only has once it was asked for it, modules and their settings, is there before anybody looks.
        let scratch = try NetworkNamespace.make()
        try scratch.run { try RouteSocket().setUp("lo") }
        try PodRedirection(pod: "scratch", namespace: scratch, stateDirectory: directory.path).install()
        unlink(directory.path + "/scratch.redirection")
    }

    deinit { _ = TestNetwork.shell("umount \(directory.path)/bpf 2>/dev/null; rmdir \(directory.path)/bpf \(cgroup)") }

    func write(isEnrolled: Bool) {
        directory.writeMesh(network, isEnrolled: isEnrolled, peerNamespace: isEnrolled ? "shop" : "open")
    }

    func node() throws -> EnrolmentNode {
        EnrolmentNode(
            backend: backend, runDirectory: directory.runDirectory, pins: pins, cgroup: cgroup, host: network.bridge)
    }

    func withAgent(
        onExit: Agent.OnExit = .remove, isCancelled: Bool = false, drainTimeout: Duration = .seconds(30),
        logger: Logger = quietLogger, _ body: (Agent) async throws -> Void
    ) async throws {
        let node = try node()
        let capture = try node.capture()
        let podGuard = try node.podGuard()
        let run = try AgentDirectory(path: directory.runDirectory)
        let agent = Agent(
            node: "node-a", source: MeshFilePodSource(path: directory.mesh, logger: logger),
            redirector: try node.redirector(capture, podGuard),
            handoff: try ZDSPodHandoff(socketPath: run.zdsSocket, logger: quietLogger),
            publisher: DiscoveryMeshPublisher(socketPath: run.xdsSocket, logger: quietLogger), meshGuard: podGuard,
            drainTimeout: drainTimeout, onExit: onExit, logger: logger)
        try await agent.running(isCancelled: isCancelled, body)
        if !isCancelled, onExit == .remove { try capture?.removeIfUnused() }
    }

    /// One more with the addresses of `web`, on a veth to the node that goes with it.
    func makeNamespace(end: String) throws -> NetworkNamespace {
        let namespace = try NetworkNamespace.make()
        try namespace.run {
            let routes = try RouteSocket()
            try routes.setUp("lo")
            try Sysctl.write("net/ipv6/conf/default/addr_gen_mode", "1")
            try routes.createVeth("eth0", peerName: end, peerNamespace: network.bridge)
            try network.bridge.run { try RouteSocket().setUp(end) }
            try routes.setUp("eth0")
            try routes.addAddress(web.v4, prefixLength: 24, to: "eth0")
            try routes.addAddress(web.v6, prefixLength: 64, to: "eth0")
            for text in ["0.0.0.0/0", "::/0"] { try routes.addRoute(to: try #require(IPPrefix(text)), link: "eth0") }
        }
        return namespace
    }

    func isEnrolled(_ agent: Agent) -> Bool { agent.podPhases == ["web-uid": .enrolled, "peer-uid": .enrolled] }

    /// Both pods, the host's ends of their veths, and the agent's directories.
    func inventory(isThorough: Bool = false) throws -> String {
        let pods = try network.hosts.map { try NamespaceInventory.text(of: $0.namespace, isThorough: isThorough) }
        let ends = try network.bridge.run {
            TestNetwork.shell(
                """
                (for end in host0 host1; do ip -details address show $end 2>/dev/null | sed 's/_timer *[0-9.]*//g'
                tc qdisc show dev $end; tc filter show dev $end ingress; tc filter show dev $end egress; done
                ip -details rule 2>/dev/null; nft list ruleset) 2>&1
                find \(directory.path)/bpf \(directory.runDirectory)/pods -mindepth 1 2>/dev/null
                """) + NamespaceInventory.settings(isThorough)
        }
        return (pods + [ends]).joined(separator: "\n")
    }

    /// What ended a moment ago may take another one to be gone.
    func expectInventory(
        _ before: String, isThorough: Bool = false, _ comment: String = "",
        _ location: SourceLocation = #_sourceLocation
    ) async throws {
        let end = ContinuousClock.now + .seconds(10)
        var after = try inventory(isThorough: isThorough)
        while after != before, .now < end {
            try await Task.sleep(for: .milliseconds(50))
            after = try inventory(isThorough: isThorough)
        }
        let difference = after.split(separator: "\n").difference(from: before.split(separator: "\n"))
        let lines = difference.map { change in
            switch change {
            case .insert(_, let line, _): "+ \(line)"
            case .remove(_, let line, _): "- \(line)"
            }
        }
        try #require(lines == [], "\(backend) \(comment)", sourceLocation: location)
    }
}

/// What an agent puts its redirections together from.
struct EnrolmentNode {
    let backend: Backend
    let runDirectory: String
    let pins: String
    let cgroup: String
    let host: NetworkNamespace

    func capture() throws -> SocketCapture? {
        backend == .ebpf ? try SocketCapture(directory: pins, proxy: .cgroup(cgroup)) : nil
    }

    func podGuard() throws -> PodGuard { try PodGuard(directory: pins, mode: .enforce, host: host) }

    func redirector(_ capture: SocketCapture?, _ podGuard: PodGuard) throws -> GuardedPodRedirector {
        GuardedPodRedirector(
            try KernelPodRedirector(
                stateDirectory: runDirectory + "/pods", capture: capture, pinDirectory: pins, logger: quietLogger),
            podGuard: podGuard)
    }

    func redirection(_ uid: String, _ namespace: NetworkNamespace, _ capture: SocketCapture?) throws -> PodRedirection {
        try PodRedirection(
            pod: uid, namespace: namespace, stateDirectory: runDirectory + "/pods", capture: capture, pinDirectory: pins
        )
    }
}

/// Payload between the two pods that is not the tunnel's, as it arrives at `peer`.
final class PlaintextTap: Sendable {
    private let tap: PacketTap

    init(_ fixture: EnrolmentFixture) throws {
        tap = try fixture.peer.namespace.run { try PacketTap(interface: "eth0") }
    }

    var bytes: UInt64 {
        tap.snapshot().flows.filter { key, _ in key.source.port != 15008 && key.destination.port != 15008 }
            .reduce(0) { $0 + $1.value.payloadBytes }
    }

    /// With packets that it missed it proves nothing.
    var isSound: Bool { tap.snapshot().dropped == 0 && tap.snapshot().failure == nil }
}

/// An application in `web` that does what it can to say something to `peer`: over a connection of old, and over new ones, all the time.
final class Chatter: Sendable {
    private static let connectionsMax = 100

    private let old: OwnedDescriptor
    private let isStopping = Atomic(false)
    private let thread: Mutex<SystemThread?> = Mutex(nil)
    private let rounds = Atomic(0)

    init(_ fixture: EnrolmentFixture, at listener: borrowing OwnedDescriptor) throws {
        old = try fixture.web.namespace.run { try TestConnection.connect(to: fixture.service) }
        let accepted = try TestConnection.accept(listener)
        try TestConnection.send("before", over: old)
        guard try TestConnection.receive(from: accepted) == "before" else { throw Errno(code: EPROTO, call: "talk") }
        let (namespace, service) = (fixture.web.namespace, fixture.service)
        let peers = accepted.release()
        let thread = try SystemThread(name: "chatter") { [self] in
            _ = try? namespace.run { try talk(service) }
            close(peers)
        }
        self.thread.withLock { $0 = thread }
    }

    private func talk(_ service: SocketAddress) throws {
        var dialled: [Int32] = []
        while !isStopping.load(ordering: .acquiring) {
            try? TestConnection.send("secret", over: old)
            if dialled.count < Self.connectionsMax, let socket = try? TCPSocket.connect(to: service) {
                dialled.append(socket.release())
            }
            for socket in dialled {
                send(socket, "secret", 6, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            rounds.add(1, ordering: .relaxed)
            usleep(2_000)
        }
        for socket in dialled { close(socket) }
    }

    /// Several times from now on has it tried.
    func tries() async throws {
        let goal = rounds.load(ordering: .relaxed) + 5
        while rounds.load(ordering: .relaxed) < goal { try await Task.sleep(for: .milliseconds(2)) }
    }

    /// Whether its connection of old is still what it was.
    var isCutOff: Bool { (try? TestConnection.send("secret", over: old)) == nil }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        thread.withLock { $0?.join() }
    }
}
