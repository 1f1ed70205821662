import Glibc
import IPAddressing
import LinuxNetworking
import Logging
import MeshAPI
import NamespaceKit
import Synchronization
import Testing

@testable import NodeAgent
@testable import Redirection

/// Two enrolled pods of one node, `web` and `peer`, with everything real but the proxy: that opens its listeners, and serves nobody.
final class DriftScene {
    let network: TestNetwork
    let directory: ScratchDirectory
    let podGuard: PodGuard
    let cgroup: String?
    var enroller: PodEnroller
    private let capture: SocketCapture?
    private let handoff: ZDSPodHandoff
    private let run: AgentDirectory
    private let cluster: ClusterState
    private let services: Task<Void, Never>

    var web: TestNetwork.Host { network.hosts[0] }
    var peer: TestNetwork.Host { network.hosts[1] }
    var pins: String { directory.path + "/bpf/culvert" }
    var podPins: String { PinDirectory(unchecked: pins).directory(ofPod: "web-uid") }
    var nodePins: String { PinDirectory(unchecked: pins).path }

    init(_ backend: CaptureKind, _ attachment: PodGuard.Attachment) throws {
        network = try TestNetwork(hosts: 2)
        directory = try ScratchDirectory()
        directory.writeMesh(network, peerNamespace: "shop")
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        run = try AgentDirectory(path: directory.runDirectory)
        let pins = directory.path + "/bpf/culvert"
        if backend == .ebpf {
            let path = try Cgroup.root() + "/" + (directory.path.split(separator: "/").last ?? "culvert")
            guard mkdir(path, 0o755) == 0 else { throw Errno(code: errno, call: "make \(path)") }
            cgroup = path
            capture = try SocketCapture(directory: pins, proxy: .cgroup(path))
        } else {
            cgroup = nil
            capture = nil
        }
        podGuard = try PodGuard(directory: pins, mode: .enforce, host: network.bridge, attachment: attachment)
        let redirector = try KernelPodRedirector(
            stateDirectory: run.pods, capture: capture, pinDirectory: pins, logger: quiet)
        handoff = try ZDSPodHandoff(socketPath: run.zdsSocket, logger: quiet)
        let pods = [
            ("web", network.hosts[0], directory.netns), ("peer", network.hosts[1], directory.path + "/peer-netns"),
        ]
        .map { name, host, path in
            ClusterState.Pod(
                uid: name + "-uid", name: name, namespace: "shop", serviceAccount: "default", node: "node-a",
                addresses: [host.v4, host.v6], netns: path)
        }
        cluster = try NodeAgentTests.cluster(pods[0], pods[1])
        try podGuard.publish(cluster.guardedAddresses)
        enroller = try PodEnroller(
            namespaces: KernelPodNamespaces(),
            redirector: GuardedPodRedirector(redirector, podGuard: podGuard), handoff: handoff, drainTimeout: .zero,
            logger: quiet)
        let (server, proxy) = (handoff, ListeningProxy(socket: run.zdsSocket, pins: pins))
        services = Task {
            await withTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try? await server.run() }
                tasks.addTask { await proxy.run() }
            }
        }
    }

    deinit {
        services.cancel()
        _ = TestNetwork.shell("(umount \(directory.path)/bpf; rmdir \(directory.path)/bpf \(cgroup ?? "")) 2>/dev/null")
    }

    /// True when all is enrolled, and the proxy has said that it listens.
    func settle() async -> Bool {
        await enroller.reconcile(with: cluster.enrolledPods(of: "node-a"), now: .now)
        guard enroller.plan.entries.values.allSatisfy({ $0.phase == .enrolled }) else { return false }
        for _ in 0..<1000 {
            if handoff.isServed(uid: "web-uid"), handoff.isServed(uid: "peer-uid") { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    func leave() async throws {
        await enroller.withdrawAll()
        try capture?.removeIfUnused()
        podGuard.removeIfUnused()
    }

    /// Has both pods try to send bytes to each other's application, and answers the payload that arrived: the applications' own
    /// attempts, and those of somebody whom no rule in the pod stops.
    func plaintextSeen() throws -> UInt64 {
        let service = { (host: TestNetwork.Host, family: IPAddress.Family) in
            SocketAddress(host.address(family), port: 8080)
        }
        let taps = try network.hosts.map { host in try host.namespace.run { try PacketTap(interface: "eth0") } }
        let listeners = try network.hosts.map { host -> Held in
            let listener = try host.namespace.run {
                try TCPSocket.listen(on: SocketAddress(.unspecified(.v6), port: 8080), dualStack: true)
            }
            return Held(listener)
        }
        var clients: [Held] = []
        for (from, to) in [(web, peer), (peer, web)] {
            for family in [IPAddress.Family.v4, .v6] {
                for mark in [0, RedirectionPlan.proxyMark] {
                    // Refused at once is as good as refused later.
                    if let client = try? dial(service(to, family), from, mark) { clients.append(client) }
                }
            }
        }
        // A program that no hook looks at.
        if let cgroup {
            let command = "(echo canary > /dev/tcp/\(web.v4)/8080) & sleep 0.15; kill -9 $!; wait"
            _ = try peer.shell("bash -c 'echo $$ > \(cgroup)/cgroup.procs; \(command)'")
        }
        var events = clients.map { pollfd(fd: $0.descriptor.raw, events: Int16(POLLOUT), revents: 0) }
        poll(&events, nfds_t(events.count), 150)
        for client in clients { try? TestConnection.send("canary", over: client.descriptor) }
        return try withExtendedLifetime(listeners) {
            try network.hosts.indices.reduce(0) { sum, index in
                let snapshot = taps[index].snapshot()
                try #require(snapshot.dropped == 0 && snapshot.failure == nil)
                return sum
                    + snapshot.flows.filter {
                        $0.key.destination.port == 8080 && network.hosts[index].has($0.key.destination)
                    }
                    .reduce(0) { $0 + $1.value.payloadBytes }
            }
        }
    }

    private func dial(_ address: SocketAddress, _ host: TestNetwork.Host, _ mark: UInt32) throws -> Held {
        Held(try host.namespace.run { try TCPSocket.connect(to: address, options: .init(mark: mark)) })
    }
}

extension TestNetwork.Host {
    fileprivate func has(_ address: SocketAddress) -> Bool { address.ip == v4 || address.ip == v6 }
}

/// A descriptor that can be kept in a list.
final class Held: Sendable {
    let descriptor: OwnedDescriptor
    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}

/// Opens in each pod that the agent tells of what a proxy opens, and closes it when told.
final class ListeningProxy: Sendable {
    private let sockets = Mutex<[String: [Held]]>([:])
    private let socket: String
    private let pins: String

    init(socket: String, pins: String) {
        self.socket = socket
        self.pins = pins
    }

    func run() async {
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let client = ZDSClient(
            path: socket, logger: quiet,
            add: { uid, _, namespace in
                let listeners = try self.listen(uid, namespace)
                self.sockets.withLock { $0[uid] = listeners }
            },
            delete: { uid in self.sockets.withLock { $0[uid] = nil } })
        await client.run()
    }

    private func listen(_ uid: String, _ namespace: NetworkNamespace) throws -> [Held] {
        let plan: [(SocketAddress, mark: UInt32, slot: UInt32?)] = [
            (SocketAddress(.loopback(.v4), port: 15001), RedirectionPlan.loopMark, 0),
            (SocketAddress(.loopback(.v6), port: 15001), RedirectionPlan.loopMark, 1),
            (SocketAddress(.unspecified(.v6), port: 15006), RedirectionPlan.proxyMark, 2),
            (SocketAddress(.unspecified(.v6), port: 15008), RedirectionPlan.proxyMark, nil),
        ]
        return try plan.map { address, mark, slot in
            let listener = try namespace.run {
                try TCPSocket.listen(
                    on: address, dualStack: address.ip.isUnspecified,
                    options: .init(transparent: slot != nil, mark: mark))
            }
            if let slot {
                let map = SocketCapture.listenerMap(ofPod: uid, directory: pins)
                _ = try ListenerMap.put(listener.raw, at: map, slot: slot)
            }
            return Held(listener)
        }
    }
}
