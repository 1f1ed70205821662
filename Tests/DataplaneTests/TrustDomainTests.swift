import Glibc
import IPAddressing
import MeshState
import NamespaceKit
import SPIFFE
import Testing

@testable import Dataplane

private let needsRoot = Comment(rawValue: "needs root: makes network namespaces")

/// The server is `td.test`'s; the client's proxy is of another trust domain.
@Suite(
    "A connection from another trust domain", .enabled(if: geteuid() == 0, needsRoot), .serialized,
    .timeLimit(.minutes(2)))
struct TrustDomainTests {
    /// Whether the client's connection is carried; the server publishes `bundles` besides its own.
    private func isCarried(_ mesh: TestMesh, serverBelieves bundles: [TestTrust] = []) async throws -> Bool {
        var believed = try mesh.trust.bundles
        for trust in bundles { for bundle in try trust.bundles.bundles.values { believed.insert(bundle) } }
        try mesh.server.dataplane.publish(believed)
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        defer { withExtendedLifetime(server) {} }
        do {
            let target = SocketAddress(mesh.server.host.v4, port: 8080)
            let socket = try await TestProgram.connect(from: mesh.client.host, to: target)
            try await socket.send(Array("hello".utf8))
            return try await socket.receive(100) == Array("hello".utf8)
        } catch {
            return false
        }
    }

    @Test("is carried when its domain is federated, under its own name")
    func federated() async throws {
        let other = try TestTrust("other.test")
        let mesh = try await TestMesh(clientTrust: other)
        #expect(try await isCarried(mesh, serverBelieves: [other]))
        let received = try #require(try await mesh.server.records.first { $0.direction == .inbound })
        #expect(received.sourceIdentity?.description == "spiffe://other.test/ns/shop/sa/client")
        try await mesh.end()
    }

    @Test("is refused when its domain is not federated, or not any more")
    func unknown() async throws {
        let other = try TestTrust("other.test")
        let mesh = try await TestMesh(clientTrust: other)
        #expect(try await !isCarried(mesh))
        let record = try #require(try await mesh.server.records.first { $0.direction == .inbound })
        #expect(record.failure?.description.contains("trust domain other.test is not known here") == true)
        try await mesh.end()
    }

    @Test("is refused when our root signed a federated domain's name, or its root signed ours")
    func foreignRoots() async throws {
        let other = try TestTrust("other.test")
        for impostor in [try TestTrust().named("other.test"), try other.named("td.test")] {
            let mesh = try await TestMesh(clientTrust: impostor)
            let ours = try mesh.trust.named("other.test")
            // A client with a certificate from our own root, for a name of theirs.
            if impostor.trustDomain == other.trustDomain { try mesh.client.dataplane.publish(mesh.client.svid(ours)) }
            #expect(try await !isCarried(mesh, serverBelieves: [other]))
            let record = try #require(try await mesh.server.records.first { $0.direction == .inbound })
            #expect(record.failure?.description.contains("no valid chain to an authority of") == true)
            try await mesh.end()
        }
    }

    @Test("is carried under an alias with our own roots, whichever of the two names each side goes by")
    func alias() async throws {
        let names = [try TrustDomain("td.test"), try TrustDomain("old.test")]
        let mesh = try await renamed(names)
        let old = try mesh.trust.named("old.test")
        try mesh.client.dataplane.publish(old.bundles)
        try mesh.client.dataplane.publish(mesh.client.svid(old))
        #expect(try await isCarried(mesh))
        let received = try #require(try await mesh.server.records.first { $0.direction == .inbound })
        #expect(received.sourceIdentity?.description == "spiffe://old.test/ns/shop/sa/client")
        // The mesh still calls the server by its old name.
        let host = mesh.server.host
        let server = try Workload(
            uid: "server", name: "server", namespace: "shop", serviceAccount: "server", trustDomain: names[1],
            addresses: [host.v4, host.v6], tunnelProtocol: .hbone)
        let workloads = [try mesh.client.workload(serviceAccount: "client"), server]
        mesh.client.dataplane.publish(MeshSnapshot().applying(MeshUpdate(upsertedWorkloads: workloads)))
        #expect(try await isCarried(mesh))
        try await mesh.end()
    }

    @Test("is refused under an alias with anybody else's roots, even when a bundle of that name was given")
    func aliasImpostor() async throws {
        let names = [try TrustDomain("td.test"), try TrustDomain("old.test")]
        let mesh = try await renamed(names)
        let stranger = try TestTrust("old.test")
        try mesh.client.dataplane.publish(mesh.client.svid(stranger))
        #expect(try await !isCarried(mesh, serverBelieves: [stranger]))
        try await mesh.end()
    }

    /// Both sides know both names.
    private func renamed(_ names: [TrustDomain]) async throws -> TestMesh {
        try await TestMesh(clientTrust: TestTrust("old.test")) {
            $0.trustDomainAliases = TrustDomainAliases(names, of: $0.trustDomain)
        }
    }
}
