import Crypto
import Glibc
import IPAddressing
import LinuxNetworking
import MeshState
import NamespaceKit
import SPIFFE
import SeededRandom
import Synchronization
import Testing

@testable import Dataplane

private let needsRoot = Comment(rawValue: "needs root: makes network namespaces")

/// The reset may come before or after the program's connect has returned.
private func expectReset(_ connect: () async throws -> TestClient) async {
    await #expect(throws: (any Error).self) { try await connect().received(1) }
}

/// Both proxies in this process, each with its own loop; pods, rules and packets are the kernel's.
@Suite(
    "A connection between enrolled pods", .enabled(if: geteuid() == 0, needsRoot), .serialized, .timeLimit(.minutes(2)))
struct TunnelTests {
    @Test("crosses in mutual TLS, and the server sees the client's own address", arguments: [IPAddress.Family.v4, .v6])
    func crosses(family: IPAddress.Family) async throws {
        let mesh = try await TestMesh()
        let seen = Mutex<SocketAddress?>(nil)
        let server = try TestProgram.server(on: mesh.server.host, port: 8080) { socket, peer in
            seen.withLock { $0 = peer }
            socket.send(socket.receive(100))
            socket.finish()
        }
        let target = SocketAddress(mesh.server.host.address(family), port: 8080)
        let socket = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await socket.send(Array("hello".utf8))
        #expect(try await socket.receive(100) == Array("hello".utf8))
        socket.finish()
        #expect(try await socket.receive(1) == [])
        #expect(seen.withLock { $0?.ip } == mesh.client.host.address(family))

        let sent = try #require(try await mesh.client.records.first { $0.direction == .outbound })
        #expect(sent.failure == nil)
        #expect(sent.security == .mutualTLS)
        #expect(sent.sourceIdentity?.description == "spiffe://td.test/ns/shop/sa/client")
        #expect(sent.destinationIdentity?.description == "spiffe://td.test/ns/shop/sa/server")
        #expect(sent.tlsVersion == "TLSv1.3")
        #expect(sent.authority == target.description)
        #expect((sent.bytesSent, sent.bytesReceived) == (5, 5))
        let received = try #require(try await mesh.server.records.first { $0.direction == .inbound })
        #expect(received.failure == nil)
        #expect(received.sourceIdentity == sent.sourceIdentity)
        #expect(received.destination == target)
        #expect((received.bytesSent, received.bytesReceived) == (5, 5))
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("carries every byte in order, both ways at once")
    func bulk() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let socket = try await TestProgram.connect(from: mesh.client.host, to: target)
        var random = SeededGenerator(seed: 11)
        let block = (0..<(1 << 20)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let sender = Task {
            for _ in 0..<16 { try await socket.send(block) }
            socket.finish()
        }
        var (digest, count) = (SHA256(), 0)
        while case let bytes = try await socket.receive(1 << 18), !bytes.isEmpty {
            digest.update(data: bytes)
            count += bytes.count
        }
        try await sender.value
        var expected = SHA256()
        for _ in 0..<16 { expected.update(data: block) }
        #expect(count == 16 << 20)
        #expect(digest.finalize() == expected.finalize())
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("half-closed by the client still carries the server's answer")
    func halfClose() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.server(on: mesh.server.host, port: 8080) { socket, _ in
            let question = socket.receiveAll()
            socket.send(question + question)
            socket.finish()
        }
        let socket = try await TestProgram.connect(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8080))
        try await socket.send(Array("twice".utf8))
        socket.finish()
        #expect(try await socket.receiveAll() == Array("twicetwice".utf8))
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("of many shares one tunnel")
    func pooled() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        var sockets: [TestClient] = []
        for _ in 0..<20 { sockets.append(try await TestProgram.connect(from: mesh.client.host, to: target)) }
        for (index, socket) in sockets.enumerated() {
            try await socket.send([UInt8(index)])
            #expect(try await socket.receive(1) == [UInt8(index)])
        }
        // 20 connections and their one tunnel.
        #expect(try await mesh.client.dataplane.connectionCount() == 21)
        withExtendedLifetime((server, sockets)) {}
        try await mesh.end()
    }

    @Test("to a port where nobody listens is reset, and both logs say why")
    func closedPort() async throws {
        let mesh = try await TestMesh()
        await expectReset {
            try await TestProgram.connect(from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 9))
        }
        let failure = try #require(try await mesh.client.records.first { $0.failure != nil }?.failure)
        #expect(failure.kind == .connect)
        #expect(failure.description.hasPrefix("http status: 503 (connection to \(mesh.server.host.v4):9 failed: "))
        #expect(try await mesh.server.records.first { $0.failure?.kind == .connect } != nil)
        try await mesh.end()
    }

    @Test("waits for the first certificate, and is not lost")
    func heldForIdentity() async throws {
        let mesh = try await TestMesh(identities: false)
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        try mesh.server.dataplane.publish(mesh.server.svid(mesh.trust))
        let socket = try await TestProgram.connect(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8080))
        try await socket.send([7])
        try await Task.sleep(for: .milliseconds(300))
        try mesh.client.dataplane.publish(mesh.client.svid(mesh.trust))
        #expect(try await socket.receive(1) == [7])
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("goes on when the certificate is renewed while its tunnel is being made")
    func renewedWhileDialling() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        _ = try mesh.server.host.shell("ip link set eth0 down")
        let socket = try await TestProgram.connect(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8080))
        try await socket.send([7])
        // The connection, and the tunnel that it waits for.
        for _ in 0..<500 where try await mesh.client.dataplane.connectionCount() < 2 {
            try await Task.sleep(for: .milliseconds(10))
        }
        try mesh.client.dataplane.publish(mesh.client.svid(mesh.trust))
        #expect(try await mesh.client.dataplane.connectionCount() == 2)
        _ = try mesh.server.host.shell("ip link set eth0 up")
        #expect(try await socket.receive(1) == [7])
        socket.finish()
        #expect(try await socket.receive(1) == [])
        // Under the old certificate nothing new is carried.
        try await mesh.client.settle(connections: 0)
        #expect(mesh.client.records.all.allSatisfy { $0.failure == nil })
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("without a certificate is refused in bounded time, with the reason")
    func neverIssued() async throws {
        let mesh = try await TestMesh(identities: false)
        await expectReset {
            try await TestProgram.connect(from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8080))
        }
        let record = try #require(try await mesh.client.records.first { $0.failure != nil })
        #expect(record.failure?.kind == .identity)
        #expect(
            record.failure?.description == "identity error: no valid certificate for spiffe://td.test/ns/shop/sa/client"
        )
        try await mesh.end()
    }

    @Test("to a peer that proves another identity than the mesh says is refused before a byte of it is told")
    func wrongIdentity() async throws {
        let mesh = try await TestMesh()
        let reached = Mutex(false)
        let server = try TestProgram.server(on: mesh.server.host, port: 8080) { _, _ in reached.withLock { $0 = true } }
        try mesh.publish(expectingServerAs: "somebody-else")
        await expectReset {
            try await TestProgram.connect(from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8080))
        }
        let record = try #require(try await mesh.client.records.first { $0.failure != nil })
        #expect(record.failure?.kind == .tls)
        let expected =
            "peer did not present the expected SAN (spiffe://td.test/ns/shop/sa/somebody-else), got spiffe://td.test/ns/shop/sa/server"
        #expect(record.failure?.description.contains(expected) == true)
        #expect(!reached.withLock { $0 })
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("from another trust domain is refused in the handshake, with the reason logged")
    func foreignTrustDomain() async throws {
        let mesh = try await TestMesh(clientTrust: TestTrust("elsewhere.test"))
        await expectReset {
            try await TestProgram.connect(from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8080))
        }
        let record = try #require(try await mesh.server.records.first { $0.failure != nil })
        #expect(record.failure?.kind == .tls)
        #expect(record.failure?.description.contains("elsewhere.test") == true, "\(record.failure?.description ?? "")")
        try await mesh.end()
    }

    @Test("survives the renewal of the certificate, and new ones use the new certificate")
    func renewal() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let old = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await old.send([1])
        #expect(try await old.receive(1) == [1])
        try mesh.client.dataplane.publish(mesh.client.svid(mesh.trust))
        let new = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await new.send([2])
        #expect(try await new.receive(1) == [2])
        try await old.send([3])
        #expect(try await old.receive(1) == [3])
        // Two connections, each on a tunnel of its own generation.
        #expect(try await mesh.client.dataplane.connectionCount() == 4)
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("is drained: what lives goes on until it ends, what is new is refused")
    func drain() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let live = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await live.send([1])
        #expect(try await live.receive(1) == [1])
        let drained = Task { try await mesh.client.dataplane.drain(deadline: .seconds(3600)) }
        try await Task.sleep(for: .milliseconds(200))
        await #expect(throws: (any Error).self) { try await TestProgram.connect(from: mesh.client.host, to: target) }
        try await live.send([2])
        #expect(try await live.receive(1) == [2])
        live.finish()
        #expect(try await live.receive(1) == [])
        // At once: the deadline is far beyond this suite's.
        try await drained.value
        withExtendedLifetime(server) {}
        try await mesh.end()
    }
}
