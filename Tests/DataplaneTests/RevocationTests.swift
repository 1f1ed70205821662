import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import SPIFFE
import Testing

@testable import Dataplane

@Suite(
    "A peer that is trusted no longer", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .serialized,
    .timeLimit(.minutes(2)))
struct RevocationTests {
    /// Both proxies under certificates that the test can revoke, and one live connection from client to server.
    private struct Scene {
        let mesh: TestMesh
        let clientSVID: X509SVID
        let serverSVID: X509SVID
        let program: TestServer
        let socket: TestClient

        init(grace: Duration) async throws {
            mesh = try await TestMesh(identities: false) { $0.distrustGrace = grace }
            clientSVID = try mesh.client.svid(mesh.trust)
            serverSVID = try mesh.server.svid(mesh.trust)
            try mesh.client.dataplane.publish(clientSVID)
            try mesh.server.dataplane.publish(serverSVID)
            program = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
            socket = try await TestProgram.connect(from: mesh.client.host, to: Self.target(mesh))
            try await exchange(1)
        }

        static func target(_ mesh: TestMesh) -> SocketAddress { SocketAddress(mesh.server.host.v4, port: 8080) }

        func exchange(_ byte: UInt8) async throws {
            try await socket.send([byte])
            #expect(try await socket.receive(1) == [byte])
        }

        func connect() async throws -> TestClient {
            try await TestProgram.connect(from: mesh.client.host, to: Self.target(mesh))
        }

        func end() async throws {
            withExtendedLifetime((program, socket)) {}
            try await mesh.end()
        }
    }

    private func expectCut(_ socket: TestClient) async {
        let error = await #expect(throws: Errno.self) { try await socket.received(1) }
        #expect(error?.code == ECONNRESET)
    }

    @Test(
        "loses its live connections after the grace, makes no new ones, and the records say why",
        arguments: ["client", "server"])
    func revoked(peer: String) async throws {
        let scene = try await Scene(grace: .milliseconds(300))
        // The one whose certificate is good decides.
        let judge = peer == "client" ? scene.mesh.server : scene.mesh.client
        let direction = peer == "client" ? ConnectionRecord.Direction.inbound : .outbound
        let svid = peer == "client" ? scene.clientSVID : scene.serverSVID
        try judge.dataplane.publish(scene.mesh.trust.bundles(revoking: svid))
        await expectCut(scene.socket)
        let all = try await judge.records.first { $0.failure?.kind == .revoked && $0.authority != nil }
        let stream = try #require(all)
        #expect(stream.direction == direction && stream.bytesReceived == 1)
        let tunnel = try #require(judge.records.all.first { $0.failure?.kind == .revoked && $0.authority == nil })
        #expect(tunnel.direction == direction)
        #expect((peer == "client" ? tunnel.sourceIdentity : tunnel.destinationIdentity) == svid.id)
        let reason = try #require(tunnel.failure?.description)
        #expect(reason.hasPrefix("the peer is trusted no longer: ") && reason.contains("was revoked on "))
        #expect(reason.hasSuffix("(key compromise)"))
        await #expect(throws: (any Error).self) { try await scene.connect().received(1) }
        let refusal = try await judge.records.first { $0.failure?.kind == .tls }
        #expect(refusal?.failure?.description.contains("was revoked") == true)
        try await scene.end()
    }

    @Test("keeps what it has for the grace, in order, while its next certificate makes new connections")
    func grace() async throws {
        let scene = try await Scene(grace: .seconds(60))
        let server = scene.mesh.server
        try server.dataplane.publish(scene.mesh.trust.bundles(revoking: scene.clientSVID))
        #expect(try await server.records.first { $0.failure?.kind == .revoked } != nil)
        try await scene.exchange(2)
        try scene.mesh.client.dataplane.publish(scene.mesh.client.svid(scene.mesh.trust))
        let next = try await scene.connect()
        try await next.send([3])
        #expect(try await next.receive(1) == [3])
        try await scene.exchange(4)
        scene.socket.finish()
        #expect(try await scene.socket.receive(1) == [])
        let ended = try await server.records.first { $0.authority != nil }
        #expect(ended?.failure == nil && ended?.bytesReceived == 3)
        try await scene.end()
    }

    @Test("loses its connections when its root leaves the bundle, and not when one is added")
    func roots() async throws {
        let scene = try await Scene(grace: .milliseconds(300))
        let server = scene.mesh.server
        let other = try TestTrust()
        try server.dataplane.publish(scene.mesh.trust.bundles(with: other))
        try await scene.exchange(2)
        try server.dataplane.publish(scene.mesh.trust.bundles)
        try await scene.exchange(3)
        #expect(!server.records.all.contains { $0.failure != nil })
        try server.dataplane.publish(other.bundles)
        await expectCut(scene.socket)
        let record = try await server.records.first { $0.failure?.kind == .revoked && $0.authority != nil }
        #expect(record?.failure?.description.contains("no valid chain to an authority of td.test") == true)
        try await scene.end()
    }

    @Test("is noticed on every tunnel of many peers and of all event loops, and on no other's")
    func many() async throws {
        let mesh = try await TestMesh(identities: false) {
            $0.distrustGrace = .milliseconds(300)
            $0.loops = 2
            $0.limits.streamsPerTunnelMax = 1
        }
        let (revoked, server) = (try mesh.client.svid(mesh.trust), try mesh.server.svid(mesh.trust))
        try mesh.server.dataplane.publish(server)
        try mesh.client.dataplane.publish(revoked)
        let program = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        func connections(_ count: Int) async throws -> [TestClient] {
            var sockets: [TestClient] = []
            for index in 0..<count {
                let socket = try await TestProgram.connect(from: mesh.client.host, to: target)
                try await socket.send([UInt8(index)])
                #expect(try await socket.receive(1) == [UInt8(index)])
                sockets.append(socket)
            }
            return sockets
        }
        // More than are verified in one turn.
        let lost = try await connections(40)
        try mesh.client.dataplane.publish(mesh.client.svid(mesh.trust))
        let kept = try await connections(3)
        try mesh.server.dataplane.publish(mesh.trust.bundles(revoking: revoked))
        for socket in lost { await expectCut(socket) }
        for socket in kept {
            try await socket.send([9])
            #expect(try await socket.receive(1) == [9])
        }
        #expect(mesh.server.records.all.count { $0.failure?.kind == .revoked && $0.authority == nil } == 40)
        withExtendedLifetime((program, lost, kept)) {}
        try await mesh.end()
    }
}
