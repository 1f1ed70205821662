import Glibc
import IPAddressing
import LinuxNetworking
import MeshState
import NamespaceKit
import SPIFFE
import Testing

@testable import Dataplane

@Suite("Plaintext to an enrolled pod: the decision")
struct PlaintextDecisionTests {
    private static let pod = IPAddress(v4: 0x0a00_0001)
    private static let other = IPAddress(v4: 0x0a00_0002)

    private func workload(_ name: String, _ tunnel: Workload.TunnelProtocol, isStrict: Bool = false) throws -> Workload
    {
        try Workload(
            uid: name, name: name, namespace: "shop", serviceAccount: name, trustDomain: TrustDomain("a"),
            tunnelProtocol: tunnel, refusesPlaintext: isStrict)
    }

    @Test("by who asks, what is asked for, and what the mesh knows of the pod")
    func table() throws {
        let (permissive, strict) = (try workload("web", .hbone), try workload("web", .hbone, isStrict: true))
        let (enrolled, outsider) = (try workload("client", .hbone), try workload("old", .none))
        let recursive = ConnectionFailure(.denied, "attempted recursive call to ourselves")
        let passedBy = ConnectionFailure(.denied, "plaintext from an enrolled pod: shop/client")
        let refused = ConnectionFailure(.plaintextRefused, "plaintext is refused: namespace shop is strict")
        let cases: [(source: IPAddress, port: UInt16, own: Workload?, peer: Workload?, PlaintextDecision)] = [
            (Self.other, 80, permissive, nil, .deliver),
            (Self.other, 80, permissive, outsider, .deliver),
            (Self.other, 80, permissive, enrolled, .refuse(passedBy)),
            (Self.other, 80, strict, nil, .refuse(refused)),
            (Self.other, 80, strict, outsider, .refuse(refused)),
            (Self.other, 80, strict, enrolled, .refuse(passedBy)),
            (Self.pod, 80, permissive, permissive, .deliver),
            // An address proves nothing, the pod's own neither.
            (Self.pod, 80, strict, strict, .refuse(refused)),
            (Self.other, 80, nil, nil, .wait),
            (Self.other, 80, nil, enrolled, .refuse(passedBy)),
            (Self.other, 15006, nil, nil, .refuse(recursive)),
            (Self.other, 15008, permissive, nil, .refuse(recursive)),
        ]
        for (source, port, own, peer, expected) in cases {
            let decision = PlaintextDecision.decide(
                source: SocketAddress(source, port: 40_000), destination: SocketAddress(Self.pod, port: port), own: own,
                peer: peer)
            #expect(decision == expected)
        }
    }
}

@Suite(
    "A pod of a strict namespace", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(2)))
struct StrictTests {
    @Test(
        "refuses plaintext, with the reason in the record, and serves tunnels; its own plaintext leaves as before",
        arguments: [IPAddress.Family.v4, .v6])
    func refuses(family: IPAddress.Family) async throws {
        let mesh = try await TestMesh()
        try mesh.publish(expectingServerAs: "server", isStrict: true)
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let outside = try TestProgram.echoServer(on: mesh.outsider, port: 7000)
        let target = SocketAddress(mesh.server.host.address(family), port: 8080)
        let tap = try mesh.outsider.namespace.run { try PacketTap(interface: "eth0") }
        await #expect(throws: (any Error).self) {
            let socket = try await TestProgram.connect(from: mesh.outsider, to: target)
            try await socket.send([1])
            if try await socket.receive(1).isEmpty { throw Refused() }
        }
        let record = try #require(try await mesh.server.records.first { $0.direction == .inbound })
        #expect(record.failure == .strict("shop"))
        #expect(record.source?.ip == mesh.outsider.address(family))
        #expect(record.destination == target)
        #expect((record.bytesSent, record.bytesReceived) == (0, 0))
        let answered = tap.snapshot().flows.filter { $0.key.source == target }
        #expect(answered.values.allSatisfy { $0.payloadBytes == 0 })

        let tunnelled = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await tunnelled.send([2])
        #expect(try await tunnelled.receive(1) == [2])
        let own = try await TestProgram.connect(
            from: mesh.server.host, to: SocketAddress(mesh.outsider.address(family), port: 7000))
        try await own.send([3])
        #expect(try await own.receive(1) == [3])
        withExtendedLifetime((server, outside)) {}
        try await mesh.end()
    }

    @Test("that has become so ends the plaintext connections it has, and no others")
    func change() async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let outside = try TestProgram.echoServer(on: mesh.outsider, port: 7000)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let plain = try await TestProgram.connect(from: mesh.outsider, to: target)
        let tunnelled = try await TestProgram.connect(from: mesh.client.host, to: target)
        let own = try await TestProgram.connect(
            from: mesh.server.host, to: SocketAddress(mesh.outsider.v4, port: 7000))
        for socket in [plain, tunnelled, own] {
            try await socket.send([1])
            #expect(try await socket.receive(1) == [1])
        }
        try mesh.publish(expectingServerAs: "server", isStrict: true)
        await #expect(throws: (any Error).self) { try await plain.received(1) }
        let record = try #require(try await mesh.server.records.first { $0.failure != nil })
        #expect(record.failure == .strict("shop"))
        #expect((record.bytesSent, record.bytesReceived) == (1, 1))
        for socket in [tunnelled, own] {
            try await socket.send([2])
            #expect(try await socket.receive(1) == [2])
        }
        // And back.
        try mesh.publish(expectingServerAs: "server")
        let again = try await TestProgram.connect(from: mesh.outsider, to: target)
        try await again.send([3])
        #expect(try await again.receive(1) == [3])
        withExtendedLifetime((server, outside)) {}
        try await mesh.end()
    }

    @Test("is not taken for a permissive one before the mesh is known: plaintext waits", arguments: [false, true])
    func unknown(isStrict: Bool) async throws {
        let mesh = try await TestMesh(isKnown: false) { $0.holdTimeout = .seconds(60) }
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let socket = try await TestProgram.connect(from: mesh.outsider, to: target)
        try await socket.send([1])
        for _ in 0..<1000 {
            if try await mesh.server.dataplane.connectionCount() > 0 { break }
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(mesh.server.records.all.isEmpty)
        try mesh.publish(expectingServerAs: "server", isStrict: isStrict)
        if isStrict {
            await #expect(throws: (any Error).self) { _ = try await socket.received(1) }
            #expect(try await mesh.server.records.first { $0.failure == .strict("shop") } != nil)
        } else {
            #expect(try await socket.receive(1) == [1])
        }
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("whose mesh never comes is refused after the time that connections are held")
    func neverKnown() async throws {
        let mesh = try await TestMesh(isKnown: false) { $0.holdTimeout = .milliseconds(100) }
        let socket = try await TestProgram.connect(
            from: mesh.outsider, to: SocketAddress(mesh.server.host.v4, port: 8080))
        await #expect(throws: (any Error).self) { _ = try await socket.received(1) }
        let record = try #require(try await mesh.server.records.first { $0.failure != nil })
        #expect(record.failure?.kind == .identity)
        #expect(try await mesh.server.dataplane.connectionCount() == 0)
        try await mesh.end()
    }

    private struct Refused: Error {}
}
