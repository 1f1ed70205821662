import Glibc
import IPAddressing
import LinuxNetworking
import MeshState
import NamespaceKit
import Redirection
import Testing

@testable import NodeAgent

/// The whole agent with its guard: two enrolled pods, real rules, real programs, real sockets.
@Suite(
    "Agent with guarded pods", .serialized, .timeLimit(.minutes(2)),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"))
final class GuardedPodTests: Sendable {
    private let network: TestNetwork
    private let directory: ScratchDirectory

    private var web: TestNetwork.Host { network.hosts[0] }
    private var db: TestNetwork.Host { network.hosts[1] }
    private var pins: String { directory.path + "/bpf/culvert" }
    private var service: SocketAddress { SocketAddress(db.v4, port: 8080) }

    init() throws {
        network = try TestNetwork(hosts: 2)
        directory = try ScratchDirectory()
    }

    deinit { _ = TestNetwork.shell("umount \(directory.path)/bpf 2>/dev/null; rmdir \(directory.path)/bpf") }

    @Test("with all of the pods' own rules flushed, nothing passes but the tunnel; then the rules are put back")
    func flushed() async throws {
        directory.writeMesh(network, peerNamespace: "shop")
        let listener = try HeldSocket(listeningIn: db, on: service)
        let podGuard = try makeGuard()
        try await directory.withAgent(guardedBy: podGuard, verificationInterval: .seconds(3600)) { agent in
            #expect(await eventually { agent.podPhases == ["web-uid": .enrolled, "peer-uid": .enrolled] })
            for host in network.hosts { _ = try host.shell("nft flush ruleset; ip rule del pref 100") }
            let tap = try db.namespace.run { try PacketTap(interface: "eth0") }
            let client = try HeldSocket(dialling: service, from: web)
            #expect(await eventually { refused(podGuard) > 0 })
            // An application that has taken the proxy's mark is told apart by nothing but where it goes.
            let marked = try HeldSocket(dialling: service, from: web, mark: 0x539)
            #expect(await eventually { refused(podGuard) > 1 })
            let snapshot = tap.snapshot()
            #expect(!snapshot.flows.keys.contains { $0.destination == service || $0.source == service })
            #expect(snapshot.dropped == 0)
            // The tunnel's port is open.
            let tunnel = SocketAddress(db.v4, port: 15008)
            let proxy = try HeldSocket(listeningIn: db, on: tunnel)
            let carried = try HeldSocket(connectedTo: tunnel, from: web)
            withExtendedLifetime([listener, client, marked, proxy, carried]) {}
        }
        // A short interval, and the flushed rules are seen and installed again.
        try await directory.withAgent(guardedBy: makeGuard(), verificationInterval: .milliseconds(10)) { agent in
            #expect(await eventually { agent.podPhases["web-uid"] == .enrolled })
            _ = try web.shell("nft flush ruleset")
            #expect(await eventually { hasRules(web) })
        }
        #expect(try traces() == [])
    }

    @Test("outlives a killed agent, is adopted by the next, and removed with the last label")
    func adoption() async throws {
        directory.writeMesh(network, peerNamespace: "shop")
        try await directory.withAgent(guardedBy: makeGuard(), isCancelled: true) { agent in
            #expect(await eventually { agent.podPhases == ["web-uid": .enrolled, "peer-uid": .enrolled] })
        }
        let podGuard = try makeGuard()
        #expect(podGuard.pods == ["peer-uid", "web-uid"])
        #expect(try podGuard.enrolledAddresses() == [web.v4, web.v6, db.v4, db.v6])
        #expect(try podGuard.state(of: "web-uid", in: web.namespace) == .complete)

        directory.writeMesh(network, isEnrolled: false, peerNamespace: "shop")
        let listener = try HeldSocket(listeningIn: db, on: service)
        try await directory.withAgent(guardedBy: podGuard) { agent in
            #expect(await eventually { directory.records.isEmpty })
            #expect(podGuard.pods.isEmpty)
            #expect(try podGuard.enrolledAddresses().isEmpty)
            let client = try HeldSocket(connectedTo: service, from: web)
            withExtendedLifetime([listener, client]) {}
        }
        #expect(try traces() == [])
    }

    @Test("a guard that no record speaks of is removed, once the cluster is known")
    func unknown() async throws {
        directory.writeMesh(network, isEnrolled: false)
        let podGuard = try makeGuard()
        try podGuard.attach(pod: "lost-uid", in: web.namespace)
        try await directory.withAgent(guardedBy: podGuard, onExit: .leave) { _ in
            #expect(await eventually { podGuard.pods.isEmpty })
        }
        podGuard.removeIfUnused()
    }

    @Test(
        "a namespace that becomes strict: from then on the kubelet reaches its pods' applications, as long as it is so",
        arguments: [false, true])
    func strict(_ isTranslated: Bool) async throws {
        let cgroup = try Cgroup.root() + "/" + (directory.path.split(separator: "/").last ?? "culvert") + "-kubelet"
        try #require(mkdir(cgroup, 0o755) == 0)
        defer { rmdir(cgroup) }
        let asks = "echo $$ > \(cgroup)/cgroup.procs; exec 3<>/dev/tcp/\(web.v4)/8080 && echo open"
        func probe() -> String {
            let command = "timeout -s KILL 5 bash -c '\(asks)' 2>/dev/null"
            return (try? network.bridge.run { TestNetwork.shell(command) }) ?? ""
        }
        _ = try network.bridge.run { TestNetwork.shell("ip addr add 10.244.9.1/24 dev br0") }
        _ = try web.shell("ip route replace default via 10.244.9.1")
        let translator = isTranslated ? try ProbeTranslation(host: network.bridge) : nil
        directory.writeMesh(network)
        let listener = try HeldSocket(listeningIn: web, on: SocketAddress(web.v4, port: 8080))
        #expect(probe() == "open\n")
        try await directory.withAgent(
            guardedBy: makeGuard(), verificationInterval: .milliseconds(100), kubelet: cgroup,
            translator: translator, pins: pins
        ) { agent in
            #expect(await eventually { agent.podPhases["web-uid"] == .enrolled })
            // Without a proxy nobody answers.
            #expect(probe() == "")
            directory.writeMesh(network, mode: "strict")
            #expect(await eventually { probe() == "open\n" })
            if isTranslated {
                // Put back when somebody takes it away.
                _ = try network.bridge.run { TestNetwork.shell("nft delete table inet culvert_probes") }
                #expect(await eventually { probe() == "open\n" })
            }
            directory.writeMesh(network)
            #expect(await eventually { probe() == "" })
        }
        withExtendedLifetime(listener) {}
        #expect(try traces() == [])
    }

    @Test("virtual addresses in front of enrolled pods are guarded too, unless they are passed through")
    func virtualAddresses() throws {
        func service(_ name: String, _ address: String, _ balancing: MeshState.Service.LoadBalancing = .weightedRandom)
            throws
            -> MeshState.Service
        {
            MeshState.Service(
                name: ServiceName(namespace: "shop", hostname: name), shortName: name,
                addresses: [try #require(IPAddress(address))], ports: [80: 8080], loadBalancing: balancing)
        }
        let services = [
            try service("front", "10.1.0.1"), try service("other", "10.1.0.2"),
            try service("raw", "10.1.0.3", .passthrough),
        ]
        let enrolled = ClusterState.Pod(
            uid: "web", name: "web", namespace: "shop", serviceAccount: "default", node: "node-a",
            addresses: [try #require(IPAddress("10.0.0.1"))], netns: "/run/netns/web",
            services: [services[0].name: [:], services[2].name: [:]])
        let plain = try pod("plain", namespace: "open", address: "10.0.0.2")
        let addresses = try cluster(enrolled, plain, services: services).guardedAddresses
        #expect(addresses.map(\.description).sorted() == ["10.0.0.1", "10.1.0.1"])
    }

    // MARK: -

    private func hasRules(_ host: TestNetwork.Host) -> Bool {
        (try? host.shell("nft list tables"))?.contains("culvert") == true
    }

    /// Packets of plaintext that `web` was not allowed to send.
    private func refused(_ podGuard: PodGuard) -> UInt64 {
        (try? podGuard.counts(of: "web-uid"))?.first?.packets ?? 0
    }

    private func makeGuard() throws -> PodGuard {
        try PodGuard(directory: pins, mode: .enforce, host: network.bridge)
    }

    /// Whatever may be left in the pods, on the node's interfaces, or in the agent's directories.
    private func traces() throws -> [String] {
        let inPods = try network.hosts.flatMap { host in
            try ["nft list ruleset", "ip rule | grep 133", "ip route show table 133"].map { try host.shell($0) }
        }
        let onNode = try network.bridge.run {
            TestNetwork.shell("tc filter show dev host0 ingress; nft list ruleset; ls \(pins) 2>&1")
        }
        let lines = (inPods + [onNode]).filter {
            !$0.isEmpty && !$0.contains("does not exist") && !$0.contains("No such file")
        }
        return lines + directory.records
    }
}

/// Open as long as this lives.
private final class HeldSocket: Sendable {
    private let descriptor: OwnedDescriptor

    init(listeningIn host: TestNetwork.Host, on address: SocketAddress) throws {
        descriptor = try host.namespace.run { try TCPSocket.listen(on: address, dualStack: false) }
    }

    init(dialling address: SocketAddress, from host: TestNetwork.Host, mark: UInt32? = nil) throws {
        descriptor = try host.namespace.run { try TCPSocket.connect(to: address, options: .init(mark: mark)) }
    }

    init(connectedTo address: SocketAddress, from host: TestNetwork.Host) throws {
        descriptor = try host.namespace.run { try TestConnection.connect(to: address) }
    }
}
