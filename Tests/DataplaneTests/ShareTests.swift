import Glibc
import HBONE
import HTTP2Frames
import IPAddressing
import LinuxNetworking
import MeshState
import NamespaceKit
import Testing

@testable import Dataplane

/// The bounds of `DataplaneLimits` as peers and applications meet them: who goes beyond its share is told so, and nobody else notices.
@Suite(
    "Beyond its share", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(1))
)
struct ShareTests {
    /// `flood` is run beside a companion; the server's record of it must say `reason`.
    private func beyond(
        _ kind: ConnectionFailure.Kind, _ reason: String, set: @escaping @Sendable (inout DataplaneLimits) -> Void,
        _ flood: @escaping @Sendable (Attack.Target) throws -> Void
    ) async throws {
        let mesh = try await TestMesh { set(&$0.limits) }
        let target = Attack.Target(mesh: mesh)
        let servers = try target.servers()
        let companion = try Companion(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: target.ports.echo))
        try await companion.goOn(rounds: 3)
        let descriptors = try Usage.descriptors()
        try await TestProgram.onThread { try flood(target) }
        let record = try await mesh.server.records.first {
            $0.failure?.kind == kind && $0.failure?.description.contains(reason) == true
        }
        #expect(record != nil, "\(mesh.server.records.all.compactMap(\.failure).suffix(3))")
        try await companion.goOn(rounds: 25)
        try await companion.stop()
        #expect(companion.failure == nil)
        try await mesh.server.settle(connections: 1)
        #expect(try Usage.descriptors() <= descriptors + 4)
        withExtendedLifetime(servers) {}
        try await mesh.end()
    }

    @Test("of handshakes an address is refused unread")
    func handshakesOfOneAddress() async throws {
        try await beyond(.overload, "too many connections without TLS", set: { $0.handshakesPerPeerMax = 8 }) {
            target in
            let attackers = try (0..<8).map { _ in try target.dial() }
            for _ in 0..<12 { try #expect(target.isRefusedUnread()) }
            attackers[0].sendPlainly([0x16])
            #expect(attackers.allSatisfy { $0.end == .none })
        }
    }

    @Test("of all handshakes the oldest makes room, and a peer in good order gets through")
    func handshakesOfAll() async throws {
        try await beyond(.overload, "made room for newer ones", set: { $0.handshakesMax = 8 }) { target in
            let attackers = try (0..<8).map { _ in try target.dial() }
            let member = try target.member()
            attackers[0].awaitEnd()
            #expect(attackers[0].end != .none)
            member.greet()
            #expect(member.answer { $0.contains { $0.type == 4 } }.contains { $0.type == 4 })
        }
    }

    @Test("of failures to prove who it is an address is refused unread")
    func failedHandshakes() async throws {
        try await beyond(
            .overload, "failed to prove who it is", set: { $0.failedHandshakes = .init(burst: 5, perSecond: 1) }
        ) { target in
            for _ in 0..<5 {
                let attacker = try target.dial()
                attacker.sendPlainly(Array("GET / HTTP/1.1\r\n\r\n".utf8))
                attacker.awaitEnd()
            }
            try #expect(target.isRefusedUnread())
        }
    }

    @Test("of connections to applications a peer gets 503 with the reason, and keeps what it has")
    func socketsOfOneAddress() async throws {
        try await beyond(
            .overload, "the peer's address has its share", set: { $0.socketsPerPeerMax = 10 }
        ) { target in
            let attacker = try target.member()
            attacker.greet()
            for index in 0..<UInt32(30) {
                attacker.send(Frame.connect(2 * index + 1, to: target.authority(target.ports.echo)).bytes)
            }
            let answers = attacker.answer { $0.filter(\.isHeaders).count == 30 }.filter(\.isHeaders)
            // The tunnel is one of the ten.
            let accepted = answers.filter(\.is200).count
            #expect(answers.count == 30 && accepted == 9)
            attacker.forget()
            attacker.send(Frame.data(1, Array("still here".utf8)).bytes)
            let echo = attacker.answer { $0.contains { $0.type == 0 } }.first { $0.type == 0 }
            #expect(echo?.payload == Array("still here".utf8))
        }
    }

    @Test("of requests taken back an address is refused further ones, on a new tunnel, too")
    func withdrawnRequests() async throws {
        try await beyond(
            .overload, "takes its requests back too often",
            set: { $0.withdrawnRequests = .init(burst: 20, perSecond: 1) }
        ) { target in
            let attackers = try (0..<2).map { _ in try target.member() }
            let authority = target.authority(target.ports.echo)
            for attacker in attackers { attacker.greet() }
            for stream in stride(from: UInt32(1), to: 41, by: 2) {
                attackers[0].send(Frame.connect(stream, to: authority).bytes + Frame.reset(stream).bytes)
            }
            for (attacker, stream) in zip(attackers, [UInt32(41), 1]) {
                attacker.send(Frame.connect(stream, to: authority).bytes)
                let isAnswer = { (frame: Frame) in frame.isHeaders && frame.stream == stream }
                let answer = attacker.answer { $0.contains(where: isAnswer) }.first(where: isAnswer)
                #expect(answer?.is200 == false)
            }
        }
    }

    @Test("of memory for what nobody reads, who holds most is cut")
    func memory() async throws {
        try await beyond(
            .overload, "cut to bound memory",
            set: { $0.heldBytesMax = 4 << 20 }
        ) { target in
            try target.shrinkSocketBuffers()
            let attacker = try target.member()
            attacker.greet()
            let block = [UInt8](repeating: 7, count: 16_000)
            // Four windows of 4 MiB are four times the bound.
            for stream in [UInt32(1), 3, 5, 7] {
                attacker.send(Frame.connect(stream, to: target.authority(target.ports.deaf)).bytes)
                for _ in 0..<260 { attacker.send(Frame.data(stream, block).bytes) }
            }
            let reset = attacker.answer { $0.contains(where: \.isReset) }.first(where: \.isReset)
            #expect(reset != nil)
        }
    }

    @Test("of sockets a pod's connections are reset, with the reason logged, and its others go on")
    func socketsOfOnePod() async throws {
        let mesh = try await TestMesh { $0.limits.socketsPerPodMax = 20 }
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        var (live, refused): ([TestClient], Int) = ([], 0)
        for index in 0..<30 {
            let client = try? await TestProgram.connect(from: mesh.client.host, to: target)
            try await client?.send([UInt8(index)])
            if let client, try await client.receive(1) == [UInt8(index)] { live.append(client) } else { refused += 1 }
        }
        // One is the tunnel's.
        #expect(live.count == 19 && refused == 11)
        for client in live {
            try await client.send([1])
            #expect(try await client.receive(1) == [1])
        }
        let record = try await mesh.client.records.first { $0.failure?.kind == .overload }
        #expect(record?.failure?.description == "the pod has its share of the proxy's connections")
        live.removeAll()
        try await mesh.client.settle(connections: 1)
        let fresh = try await TestProgram.connect(from: mesh.client.host, to: target)
        try await fresh.send([2])
        #expect(try await fresh.receive(1) == [2])
        withExtendedLifetime(server) {}
        try await mesh.end()
    }
}

extension Frame {
    fileprivate var isHeaders: Bool { type == 1 }
    fileprivate var isReset: Bool { type == 3 }
    /// An index of one byte in HPACK's static table.
    fileprivate var is200: Bool { payload.first == 0x88 }
}
