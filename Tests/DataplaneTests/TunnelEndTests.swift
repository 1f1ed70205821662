import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Synchronization
import Testing

@testable import Dataplane

/// The client's event loop is stopped, and goes on when the other end of its tunnel has gone: so what crosses on the way does.
@Suite(
    "A tunnel that ends in order", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(1))
)
struct TunnelEndTests {
    @Test(
        "leaves a request that crosses its end to another tunnel, though the application has spoken already",
        arguments: [false, true])
    func request(isReset: Bool) async throws {
        let mesh = try await TestMesh { $0.earlyDataPeriod = .seconds(60) }
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let echo = try TestProgram.echoServer(on: mesh.server.host, port: target.port)
        let first = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await first.send([1])
        try #require(try await first.receive(1) == [1])
        first.finish()
        try #require(try await first.receive(1) == [])
        try await mesh.client.settle(connections: 1)

        let earlier = try await stopLoop(of: mesh.client)
        let late = try await TestProgram.connect(from: mesh.client.host, to: target)
        // In the turn in which it takes the connection, before the request leaves.
        let taken = try await stopLoop(of: mesh.client) { earlier.end() }
        try await late.send(Array("hello".utf8))
        // The server is to go before it has read the request.
        let server = try await stopLoop(of: mesh.server)
        async let departure: Void = mesh.server.dataplane.detach(podUID: mesh.server.name, deadline: .seconds(20))
        try await Task.sleep(for: .milliseconds(100))
        // In the turn in which it learns what the application said, before that leaves.
        let spoken = try await stopLoop(of: mesh.client, by: "[::1]:15001") { taken.end() }
        server.end()
        try await departure
        try await mesh.server.dataplane.attach(mesh.server.pod)
        // FIN is out, and what was said before it waits to be read.
        try await wait { try tunnels("state fin-wait-2", mesh.server.host) }
        if isReset { #expect(try tunnels("-K state fin-wait-2", mesh.server.host)) }
        spoken.end()

        #expect(try await late.received(5) == Array("hello".utf8))
        #expect(!mesh.client.records.all.contains { $0.failure?.kind == .reset })
        withExtendedLifetime(echo) {}
        try await mesh.end()
    }

    @Test(
        "is closed when all that its last stream said has arrived, however late the peer reads it",
        arguments: [128, 256, 512, 1024])
    func lastBytes(kibibytes: Int) async throws {
        let mesh = try await TestMesh()
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let content = (0..<kibibytes << 10).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) }
        let hasEnded = Atomic(false)
        let mayTalk = Atomic(false)
        let server = try TestProgram.server(on: mesh.server.host, port: target.port) { socket, _ in
            socket.send(socket.receive(1))
            guard socket.receive(1) == [] else { return }
            hasEnded.store(true, ordering: .relaxed)
            while !mayTalk.load(ordering: .relaxed) { usleep(1000) }
            socket.send(content)
        }
        let client = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await client.send([1])
        try #require(try await client.receive(1) == [1])
        client.finish()
        try await wait { hasEnded.load(ordering: .relaxed) }

        try await mesh.server.dataplane.detach(podUID: mesh.server.name, deadline: .seconds(30))
        let stop = try await stopLoop(of: mesh.client)
        mayTalk.store(true, ordering: .relaxed)
        // As much as the kernel and the window take.
        try await Task.sleep(for: .milliseconds(300))
        stop.end()
        #expect(try await client.receiveAll() == content)
        try await mesh.server.settle(connections: 0)
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    /// Until it ends, the pod's event loop does nothing: it is stopped while it refuses a connection. Those of one listener are taken in
    /// one turn.
    private func stopLoop(
        of pod: TestPod, by listener: String = "127.0.0.1:15001", then goOn: () -> Void = {}
    ) async throws -> Stop {
        let stop = Stop()
        pod.records.onNext { stop.wait() }
        let refused = try await TestProgram.connect(from: pod.host, to: SocketAddress(listener)!)
        goOn()
        try await wait { stop.isInForce }
        withExtendedLifetime(refused) {}
        return stop
    }

    private func tunnels(_ filter: String, _ host: TestNetwork.Host) throws -> Bool {
        try host.shell("ss -Htn \(filter) 'sport = :15008'").contains(":15008")
    }

    private func wait(_ condition: () throws -> Bool) async throws {
        for _ in 0..<1000 {
            if try condition() { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw Errno(code: ETIMEDOUT, call: "wait")
    }

    private final class Stop: Sendable {
        private let state = Atomic(0)

        var isInForce: Bool { state.load(ordering: .sequentiallyConsistent) == 1 }

        /// For twenty seconds at most.
        func wait() {
            state.store(1, ordering: .sequentiallyConsistent)
            for _ in 0..<20_000 where isInForce { usleep(1000) }
        }

        func end() { state.store(2, ordering: .sequentiallyConsistent) }
    }
}
