import Glibc
import IPAddressing
import NamespaceKit
import SPIFFE
import Testing

@testable import Dataplane

@Suite(
    "A tunnel and the keys that it depends on", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .serialized, .timeLimit(.minutes(2)))
struct TunnelSignerTests {
    @Test("is counted, and takes no new connection once a key is tainted that the pod's own certificate does without")
    func tainted() async throws {
        let mesh = try await TestMesh(identities: false)
        let next = try TestTrust()
        let bundles = try mesh.trust.bundles(with: next)
        for proxy in [mesh.client, mesh.server] { try proxy.dataplane.publish(bundles) }
        let old = try mesh.client.svid(mesh.trust)
        let new = try mesh.server.svid(next)
        try mesh.client.dataplane.publish(old)
        try mesh.server.dataplane.publish(mesh.server.svid(mesh.trust))
        let program = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let first = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await exchange(first)
        #expect(try await mesh.client.dataplane.tunnelsBySigner() == [old.signers[0]: 1])
        #expect(try await mesh.server.dataplane.tunnelsBySigner() == [old.signers[0]: 1])

        // What would take its place would depend on the key, too.
        mesh.server.dataplane.retire(dependingOn: [old.signers[0]])
        let second = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await exchange(second)
        #expect(try await mesh.server.dataplane.tunnelsBySigner() == [old.signers[0]: 1])

        try mesh.server.dataplane.publish(new)
        mesh.server.dataplane.retire(dependingOn: [old.signers[0]])
        var later: [TestClient] = []
        for _ in 0..<200 where try await mesh.server.dataplane.tunnelsBySigner()[new.signers[0]] == nil {
            let socket = try await TestProgram.connect(from: mesh.client.host, to: target)
            try await exchange(socket)
            later.append(socket)
        }
        // The client's own certificate is still of the old key.
        #expect(
            try await mesh.client.dataplane.tunnelsBySigner() == [old.signers[0]: 2, new.signers[0]: 1])
        try await exchange(first)
        withExtendedLifetime((program, second, later)) {}
        try await mesh.end()
    }

    private func exchange(_ socket: TestClient) async throws {
        try await socket.send([1])
        #expect(try await socket.receive(1) == [1])
    }
}
