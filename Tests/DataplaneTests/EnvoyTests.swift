import Glibc
import IPAddressing
import LinuxNetworking
import MeshState
import NamespaceKit
import SPIFFE
import SeededRandom
import Testing

@testable import Dataplane

/// The most widely used HBONE peer that we did not write, at either end.
@Suite(
    "Envoy", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized, .timeLimit(.minutes(2)))
struct EnvoyTests {
    private static let appPort: UInt16 = 8080
    private static let localPort: UInt16 = 9000

    /// `size` bytes to an echo server and back, both directions at once, ended by half-close.
    private static func exchange(_ client: TestClient, size: Int, seed: UInt64) async throws -> Bool {
        var random = SeededGenerator(seed: seed)
        let block = (0..<4096).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let bytes = (0..<(size + 4095) / 4096).flatMap { [UInt8(truncatingIfNeeded: $0)] + block.dropFirst() }
        async let sent: Void = {
            try await client.send(bytes); client.finish()
        }()
        let received = try await client.receiveAll()
        try await sent
        return received == bytes
    }

    // MARK: As client, before Culvert

    private static func envoyClient(
        _ mesh: TestMesh, of trust: TestTrust? = nil, to target: SocketAddress? = nil
    ) throws -> EnvoyProcess {
        let server = mesh.server.host.v4
        return try EnvoyProcess(
            on: mesh.outsider, as: "client", of: trust ?? mesh.trust, trusting: mesh.trust, listening: localPort,
            at: .loopback(.v4),
            configuration: EnvoyProcess.client(
                port: localPort, to: target ?? SocketAddress(server, port: appPort), through: server,
                identified: "spiffe://td.test/ns/shop/sa/server"))
    }

    private static func connect(through mesh: TestMesh) async throws -> TestClient {
        try await TestProgram.connect(from: mesh.outsider, to: SocketAddress(.loopback(.v4), port: localPort))
    }

    @Test("tunnels to the application behind Culvert: every byte, both ways, each side ends alone")
    func clientBytes() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: Self.appPort)
        let envoy = try Self.envoyClient(mesh)
        for seed in UInt64(1)...3 {
            let client = try await Self.connect(through: mesh)
            #expect(try await Self.exchange(client, size: 8 << 20, seed: seed), "\(envoy.log)")
        }
        let record = try #require(try await mesh.server.records.first { $0.failure == nil && $0.bytesReceived > 0 })
        #expect(record.sourceIdentity?.description == "spiffe://td.test/ns/shop/sa/client")
        #expect(record.tlsVersion == "TLSv1.3")
        envoy.end()
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("shares its tunnel between many connections at once")
    func clientMany() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: Self.appPort)
        let envoy = try Self.envoyClient(mesh)
        let whole = try await withThrowingTaskGroup(of: Bool.self) { group in
            for seed in UInt64(1)...32 {
                group.addTask { try await Self.exchange(Self.connect(through: mesh), size: 200_000, seed: seed) }
            }
            return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(whole == 32, "\(envoy.log)")
        envoy.end()
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("is refused what is not this pod's, and its client learns it")
    func clientRefused() async throws {
        let mesh = try await TestMesh()
        let envoy = try Self.envoyClient(mesh, to: SocketAddress(mesh.client.host.v4, port: Self.appPort))
        let client = try await Self.connect(through: mesh)
        try? await client.send([1, 2, 3])
        #expect(try await client.receive(10).isEmpty)
        let record = try #require(try await mesh.server.records.first { $0.failure?.kind == .denied })
        #expect(record.failure?.description.contains("ip mismatch") == true)
        envoy.end()
        try await mesh.end()
    }

    @Test("under a foreign trust domain gets no tunnel")
    func clientForeign() async throws {
        let mesh = try await TestMesh()
        let envoy = try Self.envoyClient(mesh, of: TestTrust("elsewhere.test"))
        let client = try await Self.connect(through: mesh)
        try? await client.send([1])
        #expect(try await client.receive(10).isEmpty)
        #expect(try await mesh.server.records.first { $0.failure?.kind == .tls } != nil)
        envoy.end()
        try await mesh.end()
    }

    @Test("finishes its streams when the pod goes away")
    func clientDrained() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: Self.appPort)
        let envoy = try Self.envoyClient(mesh)
        let client = try await Self.connect(through: mesh)
        try await client.send([1, 2, 3])
        #expect(try await client.receive(3) == [1, 2, 3])
        try await mesh.server.dataplane.detach(podUID: mesh.server.name, deadline: .seconds(20))
        #expect(try await Self.exchange(client, size: 1 << 20, seed: 9), "\(envoy.log)")
        envoy.end()
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    // MARK: As server, behind Culvert

    /// The host outside our proxies' care becomes a pod whose proxy is Envoy.
    private static func enrolOutsider(_ mesh: TestMesh) throws {
        try mesh.publish(expectingServerAs: "server", outsiderSpeaking: .hbone)
    }

    private static func envoyServer(_ mesh: TestMesh, http2: String = "", common: String = "") throws -> EnvoyProcess {
        let address = mesh.outsider.v4
        return try EnvoyProcess(
            on: mesh.outsider, as: "outsider", of: mesh.trust, listening: 15008, at: address,
            configuration: EnvoyProcess.server(
                on: address, for: SocketAddress(address, port: appPort),
                identified: "spiffe://td.test/ns/shop/sa/client", http2: http2, common: common))
    }

    private static func connect(_ mesh: TestMesh) async throws -> TestClient {
        try await TestProgram.connect(from: mesh.client.host, to: SocketAddress(mesh.outsider.v4, port: appPort))
    }

    @Test("takes what Culvert tunnels to it, under its default windows and frames, with the headers of HBONE")
    func serverBytes() async throws {
        let mesh = try await TestMesh()
        try Self.enrolOutsider(mesh)
        let server = try TestProgram.echoServer(on: mesh.outsider, port: Self.appPort)
        let envoy = try Self.envoyServer(mesh)
        for seed in UInt64(1)...3 {
            #expect(try await Self.exchange(Self.connect(mesh), size: 8 << 20, seed: seed), "\(envoy.log)")
        }
        let record = try #require(try await mesh.client.records.first { $0.failure == nil && $0.bytesSent > 0 })
        #expect(record.destinationIdentity?.description == "spiffe://td.test/ns/shop/sa/outsider")
        let target = SocketAddress(mesh.outsider.v4, port: Self.appPort)
        var log = envoy.log
        for _ in 0..<100 where !log.contains("access CONNECT") {
            try await Task.sleep(for: .milliseconds(100))
            log = envoy.log
        }
        #expect(
            log.contains("access CONNECT \(target) 200 baggage=k8s.namespace.name=shop,k8s.pod.name=client"), "\(log)")
        #expect(log.contains("forwarded=for=\"\(mesh.client.host.v4):"), "\(log)")
        #expect(log.contains("traceparent=00-"), "\(log)")
        #expect(log.contains("spiffe://td.test/ns/shop/sa/client TLSv1.3 sni=-"), "\(log)")
        envoy.end()
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("with room for two streams: Culvert opens more tunnels")
    func serverStreamLimit() async throws {
        let mesh = try await TestMesh()
        try Self.enrolOutsider(mesh)
        let server = try TestProgram.echoServer(on: mesh.outsider, port: Self.appPort)
        let envoy = try Self.envoyServer(mesh, http2: ", max_concurrent_streams: 2")
        var clients: [TestClient] = []
        for _ in 0..<7 {
            let client = try await Self.connect(mesh)
            try await client.send([7])
            #expect(try await client.receive(1) == [7], "\(envoy.log)")
            clients.append(client)
        }
        for (index, client) in clients.enumerated() {
            #expect(try await Self.exchange(client, size: 100_000, seed: UInt64(index)))
        }
        envoy.end()
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("whose application refuses answers 503, which is on record, and the client is reset")
    func serverRefuses() async throws {
        let mesh = try await TestMesh()
        try Self.enrolOutsider(mesh)
        let envoy = try Self.envoyServer(mesh)
        let client = try await Self.connect(mesh)
        await #expect(throws: Errno.self) { try await client.received(1) }
        let record = try #require(try await mesh.client.records.first { $0.failure != nil })
        #expect(record.failure?.description.contains("503") == true, "\(String(describing: record.failure))")
        envoy.end()
        try await mesh.end()
    }

    @Test("may go away after every third stream, and be started anew: no connection is lost")
    func serverGoesAway() async throws {
        let mesh = try await TestMesh()
        try Self.enrolOutsider(mesh)
        let server = try TestProgram.echoServer(on: mesh.outsider, port: Self.appPort)
        var envoy = try Self.envoyServer(mesh, common: "max_requests_per_connection: 3")
        for seed in UInt64(1)...20 {
            #expect(try await Self.exchange(Self.connect(mesh), size: 10_000, seed: seed), "\(seed): \(envoy.log)")
        }
        envoy.end()
        envoy = try Self.envoyServer(mesh)
        #expect(try await Self.exchange(Self.connect(mesh), size: 10_000, seed: 21), "\(envoy.log)")
        envoy.end()
        withExtendedLifetime(server) {}
        try await mesh.end()
    }
}
