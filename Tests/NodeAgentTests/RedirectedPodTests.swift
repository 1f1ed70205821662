import Glibc
import IPAddressing
import LinuxNetworking
import MeshAPI
import MeshState
import NamespaceKit
import SPIFFE
import Synchronization
import Testing

@testable import NodeAgent

/// The whole agent in the kernel: two pods in namespaces of their own, a mesh file, real rules, real sockets.
@Suite(
    "Agent with redirected pods", .serialized, .timeLimit(.minutes(1)),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"))
final class RedirectedPodTests: Sendable {
    private let network: TestNetwork
    private let directory: ScratchDirectory
    private let listener: OwnedDescriptor

    private var web: TestNetwork.Host { network.hosts[0] }
    private var peer: TestNetwork.Host { network.hosts[1] }
    private var service: SocketAddress { SocketAddress(peer.v4, port: 8080) }

    init() throws {
        network = try TestNetwork(hosts: 2)
        directory = try ScratchDirectory()
        let address = SocketAddress(network.hosts[1].v4, port: 8080)
        listener = try network.hosts[1].namespace.run { try TCPSocket.listen(on: address, dualStack: false) }
    }

    @Test("closes a pod at enrolment, resets what was open, tells the proxy; opens it again when its label goes")
    func labelled() async throws {
        let old = try Conversation(from: web, to: service, at: listener)
        #expect(try old.carries("before"))

        directory.writeMesh(network, isEnrolled: true)
        try await directory.withAgent { agent in
            let proxy = StandInProxy(directory.runDirectory)
            try await proxy.whileRunning {
                #expect(await eventually { agent.podPhases == ["web-uid": .enrolled] })
                #expect(throws: Errno.self) { try old.carries("after") }
                // Nothing listens at the proxy's ports: refused, not let past.
                #expect(throws: Errno(code: ECONNREFUSED, call: "connect")) {
                    try web.namespace.run { try connect(to: service) }
                }
                #expect(await eventually { proxy.pods == ["web-uid": NamespaceID(web.namespace)] })
                #expect(await eventually { proxy.mesh.workload(at: web.v4)?.tunnelProtocol == .hbone })
                #expect(proxy.mesh.workload(at: peer.v6)?.tunnelProtocol == Workload.TunnelProtocol.none)

                directory.writeMesh(network, isEnrolled: false)
                #expect(await eventually { agent.podPhases.isEmpty && proxy.pods.isEmpty })
                try web.namespace.run { try connect(to: service) }
                #expect(
                    await eventually { proxy.mesh.workload(at: web.v4)?.tunnelProtocol == Workload.TunnelProtocol.none }
                )
            }
        }
        #expect(try traces() == [])
    }

    @Test("leaves an enrolled pod closed when it is cancelled, and the next agent adopts it and removes every trace")
    func adoption() async throws {
        directory.writeMesh(network, isEnrolled: true)
        try await directory.withAgent(isCancelled: true) { agent in
            #expect(await eventually { agent.podPhases == ["web-uid": .enrolled] })
        }
        #expect(try traces() != [])
        #expect(throws: Errno(code: ECONNREFUSED, call: "connect")) {
            try web.namespace.run { try connect(to: service) }
        }

        // What is connected now is connected through the proxy, as far as the agent can know.
        let marked = TCPSocket.ConnectOptions(mark: 0x539)
        let proxied = try Conversation(from: web, to: service, at: listener, options: marked)
        // Its connection has until then: it never ends by itself.
        try await directory.withAgent(drainTimeout: .milliseconds(200)) { agent in
            #expect(await eventually { agent.podPhases == ["web-uid": .enrolled] })
            let isCarried = try proxied.carries("still")
            #expect(isCarried)
        }
        #expect(try traces() == [])
        try web.namespace.run { try connect(to: service) }
    }

    @Test("clears away a pod whose namespace has gone meanwhile")
    func namespaceGone() async throws {
        directory.writeMesh(network, isEnrolled: true)
        try await directory.withAgent(isCancelled: true) { agent in
            #expect(await eventually { agent.podPhases == ["web-uid": .enrolled] })
        }
        directory.writeMesh(network, isEnrolled: false)
        unlink(directory.netns)
        try await directory.withAgent(onExit: .leave) { agent in
            #expect(await eventually { directory.records.isEmpty })
        }
    }

    @Test("lets one agent at a time use a directory")
    func oneAgent() throws {
        let first = try AgentDirectory(path: directory.runDirectory)
        let error = #expect(throws: AgentDirectoryError.self) { _ = try AgentDirectory(path: directory.runDirectory) }
        #expect(
            error?.description
                == "another agent uses \(directory.runDirectory); stop it, or name another directory with --run-dir")
        first.removeIfEmpty()
        #expect(access(directory.runDirectory, F_OK) != 0)
    }

    // MARK: -

    /// Whatever an agent may leave in the pod or in its directory.
    private func traces() throws -> [String] {
        let commands = ["nft list ruleset", "ip rule | grep 133", "ip route show table 133"]
        return try commands.map { try web.shell($0) }.filter { !$0.isEmpty && !$0.contains("does not exist") }
            + directory.records
    }

    private func connect(to address: SocketAddress) throws {
        do {
            _ = try TestConnection.connect(to: address)
        } catch let error as Errno {
            throw Errno(code: error.code, call: "connect")
        }
    }
}

/// Both ends of one connection.
private final class Conversation: Sendable {
    private let client: OwnedDescriptor
    private let server: OwnedDescriptor

    init(
        from host: TestNetwork.Host, to service: SocketAddress, at listener: borrowing OwnedDescriptor,
        options: TCPSocket.ConnectOptions = .init()
    ) throws {
        client = try host.namespace.run { try TestConnection.connect(to: service, options: options) }
        server = try TestConnection.accept(listener)
    }

    /// Whether the server gets what the client sends; throws when there is no sending any more.
    func carries(_ text: String) throws -> Bool {
        try TestConnection.send(text, over: client)
        return try TestConnection.receive(from: server) == text
    }
}

/// What a proxy learns from the agent, without serving anything.
final class StandInProxy: Sendable {
    private struct State {
        var pods: [String: NamespaceID] = [:]
        var mesh = MeshSnapshot()
    }

    private let state = Mutex(State())
    private let directory: String

    init(_ directory: String) { self.directory = directory }

    var pods: [String: NamespaceID] { state.withLock(\.pods) }
    var mesh: MeshSnapshot { state.withLock(\.mesh) }

    func whileRunning(_ body: () async throws -> Void) async throws {
        let zds = ZDSClient(
            path: directory + "/zds.sock", logger: quietLogger,
            add: { uid, _, namespace in self.state.withLock { $0.pods[uid] = NamespaceID(namespace) } },
            delete: { uid in self.state.withLock { $0.pods[uid] = nil } })
        let discovery = WorkloadDiscoveryClient(
            socketPath: directory + "/xds.sock", node: "node-a", trustDomain: try TrustDomain("culvert.demo"),
            logger: quietLogger, onUpdate: { update in self.state.withLock { $0.mesh = $0.mesh.applying(update) } })
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { await zds.run() }
            tasks.addTask { await discovery.run() }
            defer { tasks.cancelAll() }
            try await body()
        }
    }
}
