import Glibc
import IPAddressing
import LinuxNetworking
import MeshState
import NamespaceKit
import Synchronization
import Testing

@testable import Dataplane

@Suite(
    "A connection with a pod outside the mesh", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .serialized, .timeLimit(.minutes(2))
)
struct PlaintextTests {
    @Test("passes in plaintext from an enrolled pod, and is recorded as such", arguments: [IPAddress.Family.v4, .v6])
    func outbound(family: IPAddress.Family) async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.outsider, port: 7000)
        let target = SocketAddress(mesh.outsider.address(family), port: 7000)
        let socket = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await socket.send([9])
        #expect(try await socket.receive(1) == [9])
        socket.finish()
        #expect(try await socket.receive(1) == [])
        let record = try #require(try await mesh.client.records.first { $0.direction == .outbound })
        #expect(record.security == .plaintext)
        #expect(record.destination == target)
        #expect(record.destinationWorkload == "outsider")
        #expect(record.failure == nil)
        #expect((record.bytesSent, record.bytesReceived) == (1, 1))
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test(
        "passes in plaintext to an enrolled pod, whose application sees the client's address",
        arguments: [IPAddress.Family.v4, .v6])
    func inbound(family: IPAddress.Family) async throws {
        let mesh = try await TestMesh()
        let seen = Mutex<IPAddress?>(nil)
        let server = try TestProgram.server(on: mesh.server.host, port: 8080) { socket, peer in
            seen.withLock { $0 = peer.ip }
            socket.send(socket.receive(10))
            socket.finish()
        }
        let target = SocketAddress(mesh.server.host.address(family), port: 8080)
        let socket = try await TestProgram.connect(from: mesh.outsider, to: target)
        try await socket.send([5, 6])
        #expect(try await socket.receive(10) == [5, 6])
        socket.finish()
        #expect(try await socket.receive(1) == [])
        #expect(seen.withLock { $0 } == mesh.outsider.address(family))
        let record = try #require(try await mesh.server.records.first { $0.direction == .inbound })
        #expect(record.security == .plaintext)
        #expect(record.destination == target)
        #expect(record.source?.ip == mesh.outsider.address(family))
        #expect((record.bytesSent, record.bytesReceived) == (2, 2))
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("is refused when the mesh knows the client as enrolled: its proxy was not told of this pod yet")
    func enrolledPeer() async throws {
        let mesh = try await TestMesh()
        let reached = Mutex(false)
        let server = try TestProgram.server(on: mesh.server.host, port: 8080) { _, _ in reached.withLock { $0 = true } }
        try mesh.publish(expectingServerAs: "server", speaking: .none)
        await #expect(throws: (any Error).self) {
            let target = SocketAddress(mesh.server.host.v4, port: 8080)
            _ = try await TestProgram.connect(from: mesh.client.host, to: target).received(1)
        }
        let record = try #require(try await mesh.server.records.first { $0.failure != nil })
        #expect(record.failure?.kind == .denied)
        #expect(record.failure?.description == "plaintext from an enrolled pod: shop/client")
        #expect(!reached.withLock { $0 })
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test(
        "passes both ways while a pod is taken out: the mesh does not have it any more, and its connections still come here"
    )
    func takenOut() async throws {
        let mesh = try await TestMesh()
        let programs = try [mesh.server.host, mesh.outsider].map { try TestProgram.echoServer(on: $0, port: 8080) }
        // Both are known to their proxies before.
        let first = try await TestProgram.connect(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: 8080))
        try await first.send([1])
        #expect(try await first.receive(1) == [1])
        for pod in [mesh.client, mesh.server] { pod.dataplane.publish(MeshSnapshot()) }
        for (from, to) in [
            (mesh.client.host, mesh.server.host), (mesh.client.host, mesh.outsider),
            (mesh.outsider, mesh.server.host),
        ] {
            let socket = try await TestProgram.connect(from: from, to: SocketAddress(to.v4, port: 8080))
            try await socket.send([2])
            #expect(try await socket.receive(1) == [2])
        }
        withExtendedLifetime(programs) {}
        try await mesh.end()
    }

    @Test("to an address that nobody has fails with the network's own error")
    func unreachable() async throws {
        let mesh = try await TestMesh()
        // The reset may come before or after the program's connect has returned.
        await #expect(throws: (any Error).self) {
            let target = SocketAddress(mesh.outsider.v4, port: 1)
            _ = try await TestProgram.connect(from: mesh.client.host, to: target).received(1)
        }
        #expect(try await mesh.client.records.first { $0.failure?.kind == .connect } != nil)
        try await mesh.end()
    }

    @Test("that dials the proxy's own ports is refused", arguments: [15001, 15006])
    func ownPorts(port: UInt16) async throws {
        let mesh = try await TestMesh()
        let target = SocketAddress(mesh.server.host.v4, port: port)
        await #expect(throws: (any Error).self) {
            let socket = try await TestProgram.connect(from: mesh.outsider, to: target)
            try await socket.send([1])
            if try await socket.received(1).isEmpty { throw Refused() }
        }
        try await mesh.end()
    }

    private struct Refused: Error {}
}
