import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Synchronization
import Testing

@testable import Dataplane

@Suite(
    "Under pressure", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(2))
)
struct PressureTests {
    @Test("a reader that does not read stops the writer, and loses nothing once it does")
    func slowReader() async throws {
        let mesh = try await TestMesh()
        let (reads, mayRead) = AsyncStream<Void>.makeStream()
        let received = Mutex(0)
        let server = try TestProgram.server(on: mesh.server.host, port: 8080) { socket, _ in
            usleep(1_500_000)
            received.withLock { $0 = socket.receiveAll().count }
            mayRead.finish()
        }
        let socket = try await TestProgram.connect(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8080))
        let block = [UInt8](repeating: 7, count: 1 << 20)
        let sent = Mutex(0)
        let writer = Task {
            for _ in 0..<64 {
                try await socket.send(block)
                sent.withLock { $0 += 1 }
            }
            socket.finish()
        }
        try await Task.sleep(for: .seconds(1))
        // The stream's window, the kernel's four socket buffers (6 MiB each at most), and what one turn holds.
        #expect(sent.withLock { $0 } < 48)
        try await writer.value
        for await _ in reads {}
        #expect(received.withLock { $0 } == 64 << 20)
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("an application that resets its connection while bytes wait for it ends that connection, and no other")
    func resetWithBytesWaiting() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.server(on: mesh.server.host, port: 8080) { socket, _ in
            guard socket.receive(1) == [1] else { return }
            // What the client sends from now on fills this socket, and then the proxy's memory.
            usleep(300_000)
            socket.reset()
        }
        let other = try TestProgram.echoServer(on: mesh.server.host, port: 8081)
        let companion = try Companion(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8081))
        let client = try await TestProgram.connect(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8080))
        try await client.send([1])
        try await client.send([UInt8](repeating: 7, count: 64 << 20))
        // The tunnel stays, and the companion's connection on it.
        try await mesh.server.settle(connections: 2)
        try await companion.goOn(rounds: 5)
        try await companion.stop()
        #expect(companion.failure == nil)
        withExtendedLifetime((server, other)) {}
        try await mesh.end()
    }

    @Test("a full tunnel is joined by a second one")
    func saturated() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        var sockets: [TestClient] = []
        for index in 0..<150 {
            let socket = try await TestProgram.connect(from: mesh.client.host, to: target)
            try await socket.send([UInt8(index)])
            #expect(try await socket.receive(1) == [UInt8(index)])
            sockets.append(socket)
        }
        // 150 connections, and two tunnels of 100 streams at most.
        #expect(try await mesh.client.dataplane.connectionCount() == 152)
        withExtendedLifetime((server, sockets)) {}
        try await mesh.end()
    }

    @Test("a pod that goes takes its listeners along at once, and its connections at the deadline")
    func detached() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let live = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await live.send([1])
        #expect(try await live.receive(1) == [1])
        try await mesh.server.dataplane.detach(podUID: "server", deadline: .milliseconds(700))
        try await live.send([2])
        #expect(try await live.receive(1) == [2])
        await #expect(throws: (any Error).self) {
            _ = try await TestProgram.connect(from: mesh.client.host, to: target).received(1)
        }
        await #expect(throws: (any Error).self) { try await live.received(1) }
        let record = try #require(try await mesh.server.records.first { $0.failure?.kind == .drained })
        #expect(record.failure?.description == "connection closed: the pod was removed")
        #expect(try await mesh.server.dataplane.connectionCount() == 0)
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("a node that falls silent is noticed: its connections are reset, with the reason")
    func silentPeer() async throws {
        let mesh = try await TestMesh { configuration in
            configuration.pingInterval = .milliseconds(100)
            configuration.pingTimeout = .milliseconds(500)
        }
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let live = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await live.send([1])
        #expect(try await live.receive(1) == [1])
        // A peer that has nothing to say still answers: longer than the timeout.
        try await Task.sleep(for: .seconds(1))
        try await live.send([2])
        #expect(try await live.receive(1) == [2])
        _ = try mesh.server.host.shell("ip link set eth0 down")
        await #expect(throws: (any Error).self) { try await live.received(1) }
        let record = try #require(try await mesh.client.records.first { $0.failure != nil })
        #expect(record.failure?.kind == .timeout)
        #expect(record.failure?.description.hasPrefix("the peer has not answered for ") == true)
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    /// A tunnel that has served one connection, and whose peer is cut off now; nobody knows yet.
    private func deadTunnel(earlyData: Duration) async throws -> (TestMesh, TestServer, SocketAddress) {
        let mesh = try await TestMesh { configuration in
            configuration.earlyDataPeriod = earlyData
            configuration.pingInterval = .milliseconds(600)
            configuration.pingTimeout = .milliseconds(800)
        }
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let first = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await first.send([1])
        #expect(try await first.receive(1) == [1])
        first.finish()
        #expect(try await first.receive(1) == [])
        _ = try mesh.server.host.shell("ip link set eth0 down")
        return (mesh, server, target)
    }

    @Test("a connection that was asked for on a dead tunnel is asked for once more on a fresh one")
    func startedOver() async throws {
        let (mesh, server, target) = try await deadTunnel(earlyData: .zero)
        let second = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await second.send([2])
        try await Task.sleep(for: .milliseconds(2000))
        _ = try mesh.server.host.shell("ip link set eth0 up")
        #expect(try await second.receive(1) == [2])
        #expect(mesh.client.records.all.allSatisfy { $0.failure == nil })
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("but not when the application's first bytes went along: they are never said twice")
    func notSaidTwice() async throws {
        let (mesh, server, target) = try await deadTunnel(earlyData: .seconds(60))
        // These bytes do not wait for an answer.
        let second = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await second.send([2])
        let record = try #require(try await mesh.client.records.first { $0.failure != nil })
        _ = try mesh.server.host.shell("ip link set eth0 up")
        await #expect(throws: Errno.self) { try await second.received(1) }
        #expect(record.bytesSent == 1)
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("10 000 short connections leave neither descriptors nor connections behind")
    func churn() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let host = mesh.client.host
        try await TestProgram.onThread {
            try host.namespace.run {
                for index in 0..<10_000 {
                    let socket = BlockingSocket(try TestConnection.connect(to: target))
                    socket.send([UInt8(truncatingIfNeeded: index)])
                    #expect(socket.receive(1) == [UInt8(truncatingIfNeeded: index)])
                }
            }
        }
        // What is left is the one tunnel that they all shared.
        for _ in 0..<500 where try await mesh.client.dataplane.connectionCount() > 1 {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(try await mesh.client.dataplane.connectionCount() == 1)
        #expect(mesh.client.records.all.count == 10_000)
        #expect(mesh.client.records.all.allSatisfy { $0.failure == nil && $0.bytesReceived == 1 })
        withExtendedLifetime(server) {}
        try await mesh.end()
    }
}
