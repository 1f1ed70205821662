import Crypto
import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import SeededRandom
import Synchronization
import Testing

@testable import Dataplane

/// Bytes are neither lost, nor repeated, nor put in another order, whatever applications do; and nothing of it stays behind.
@Suite(
    "Under stress", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(10))
)
struct StressTests {
    private static let port: UInt16 = 8080

    /// What the big stream carries each way, in bytes: 10 GB take minutes in a debug build.
    private static var bigStream: Int {
        getenv("CULVERT_STRESS_BYTES").flatMap { Int(String(cString: $0)) } ?? 512 << 20
    }

    /// Afterwards both proxies have no more than their tunnels, and the process about as much memory as before.
    private func stress(
        mebibytes: Int = 256, tunnels: Int = DataplaneLimits().bulkTunnelsPerPeerMax,
        _ configure: @escaping @Sendable (inout DataplaneConfiguration) -> Void = { _ in },
        serve: @escaping @Sendable (BlockingSocket) -> Void,
        _ body: @escaping @Sendable (TestMesh, SocketAddress) async throws -> Void
    ) async throws {
        let mesh = try await TestMesh(configure: configure)
        let target = SocketAddress(mesh.server.host.v4, port: Self.port)
        let servers = try [
            TestProgram.server(on: mesh.server.host, port: Self.port) { socket, _ in serve(socket) },
            TestProgram.echoServer(on: mesh.server.host, port: Self.port + 1),
        ]
        let companion = try Companion(
            from: mesh.client.host, to: SocketAddress(mesh.server.host.v4, port: Self.port + 1))
        try await companion.goOn(rounds: 3)
        let peak = try UsagePeak()
        try await body(mesh, target)
        try await peak.stop()
        #expect(peak.kibibytes < mebibytes << 10)
        try await companion.goOn(rounds: 3)
        try await companion.stop()
        #expect(companion.failure == nil)
        for pod in [mesh.client, mesh.server] { try await pod.settle(connections: tunnels) }
        #expect(try Usage.descriptors() <= peak.descriptorsBefore + 2 * tunnels)
        // Each loop keeps chunks for the next burst: 8 MiB at most.
        #expect(try Usage.residentKiB() < peak.kibibytesBefore + 24 * 1024)
        withExtendedLifetime(servers) {}
        try await mesh.end()
    }

    /// `count` connections at once, of which each end sends `bytes`; every direction must arrive as it was sent.
    private func exchange(
        connections count: Int = 1, bytes: Int, client: BlockingSocket.Order, server: BlockingSocket.Order,
        mebibytes: Int = 256, pause: Duration = .zero,
        _ configure: @escaping @Sendable (inout DataplaneConfiguration) -> Void = { _ in }
    ) async throws {
        let seen = Outcomes()
        try await stress(mebibytes: mebibytes, configure) { socket in
            usleep(UInt32(pause / .microseconds(1)))
            seen.append(Result { try socket.exchange(bytes, from: 500_000, server) })
        } _: { mesh, target in
            let host = mesh.client.host
            let results = try await withThrowingTaskGroup { group in
                for _ in 0..<count {
                    group.addTask {
                        try await TestProgram.onThread {
                            try host.namespace.run { BlockingSocket(try TestConnection.connect(to: target)) }
                                .exchange(bytes, from: 0, client)
                        }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let others = try await seen.all(count)
            for (mine, other) in zip(results, others) {
                #expect(mine.sent.count == bytes && other.sent.count == bytes)
                #expect(other.received == mine.sent)
                #expect(mine.received == other.sent)
            }
        }
    }

    // MARK: Ends

    @Test("each side ends alone, and what the other sends from then on arrives whole", arguments: [true, false])
    func halfClosed(byClient: Bool) async throws {
        try await exchange(
            bytes: 16 << 20, client: byClient ? .first : .last, server: byClient ? .last : .first)
    }

    @Test("1000 connections without a byte begin and end in order")
    func zeroBytes() async throws {
        let ends = Mutex(0)
        // While they are many at once: 100 streams each.
        try await stress(tunnels: 11) { socket in
            if (try? socket.received(1))?.isEmpty == true { ends.withLock { $0 += 1 } }
        } _: { mesh, target in
            let host = mesh.client.host
            try await TestProgram.onThread {
                for _ in 0..<1000 { _ = try host.namespace.run { try TestConnection.connect(to: target) } }
            }
            for _ in 0..<500 where ends.withLock({ $0 }) < 1000 { try await Task.sleep(for: .milliseconds(10)) }
            #expect(ends.withLock { $0 } == 1000)
            try await mesh.client.settle(connections: 11 + 1)
            let records = mesh.client.records.all.filter { $0.authority?.hasSuffix(":\(Self.port)") == true }
            #expect(records.count == 1000)
            #expect(records.allSatisfy { $0.failure == nil && $0.bytesSent == 0 && $0.bytesReceived == 0 })
        }
    }

    @Test(
        "reset at a random moment by either end breaks at the other, and what came before was right", arguments: [1, 2])
    func resets(seed: UInt64) async throws {
        let stage = ResetStage()
        try await stress {
            stage.serve($0)
        } _: { mesh, target in
            let host = mesh.client.host
            try await withThrowingTaskGroup { group in
                for thread in 0..<8 {
                    group.addTask {
                        try await TestProgram.onThread {
                            var random = SeededGenerator(seed: seed << 8 + UInt64(thread))
                            for _ in 0..<40 {
                                let socket = try host.namespace.run {
                                    BlockingSocket(try TestConnection.connect(to: target))
                                }
                                stage.play(ResetScene(using: &random), socket)
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            try await stage.settle()
            #expect(stage.faults == [])
        }
    }

    // MARK: Amounts

    @Test("a big stream arrives whole, both ways at once")
    func big() async throws {
        try await exchange(bytes: Self.bigStream, client: .together, server: .together)
    }

    @Test("a million small writes arrive as they were written")
    func smallWrites() async throws {
        let seen = Outcomes()
        try await stress { socket in
            seen.append(Result { try socket.exchange(0, from: 0, .last) })
        } _: { mesh, target in
            let host = mesh.client.host
            let sent = try await TestProgram.onThread {
                let socket = try host.namespace.run { BlockingSocket(try TestConnection.connect(to: target)) }
                return try socket.sendInPieces(1_000_000)
            }
            let other = try #require(try await seen.all(1).first)
            #expect(other.received == sent)
        }
    }

    @Test("2048 streams at once each get their own bytes back")
    func manyStreams() async throws {
        DescriptorLimit.raise()
        try #require(DescriptorLimit.current > 10_000, "four descriptors for each")
        let mesh = try await TestMesh()
        let server = try PollingEchoServer(on: mesh.server.host, port: Self.port)
        let target = SocketAddress(mesh.server.host.v4, port: Self.port)
        let host = mesh.client.host
        let peak = try UsagePeak()
        try await TestProgram.onThread {
            let sockets = try host.namespace.run {
                try (0..<2048).map { _ in BlockingSocket(try TestConnection.connect(to: target)) }
            }
            for round in 0..<3 {
                for (index, socket) in sockets.enumerated() {
                    _ = StressContent.withBytes(at: index * 401 + round, count: 1500, socket.send)
                }
                for (index, socket) in sockets.enumerated() {
                    var answer: [UInt8] = []
                    while answer.count < 1500 {
                        let bytes = try socket.received(1500 - answer.count)
                        guard !bytes.isEmpty else { throw Errno(code: ECONNRESET, call: "end of stream \(index)") }
                        answer += bytes
                    }
                    #expect(StressContent.matches(answer, at: index * 401 + round), "stream \(index), round \(round)")
                }
            }
        }
        try await peak.stop()
        // Four for each stream, and its share of a tunnel.
        #expect(peak.descriptors > 4 * 2048)
        // The tunnels stay for the next: 100 streams each.
        for pod in [mesh.client, mesh.server] { try await pod.settle(connections: 21) }
        #expect(try Usage.residentKiB() < peak.kibibytesBefore + 24 * 1024)
        server.stop()
        try await mesh.end()
    }

    // MARK: Pauses

    @Test("readers that stop for seconds lose nothing, though their peer's patience with a silent node is shorter")
    func stalled() async throws {
        try await exchange(
            connections: 9, bytes: 16 << 20, client: .first, server: .last, mebibytes: 128, pause: .seconds(4)
        ) {
            $0.pingInterval = .milliseconds(200)
            $0.pingTimeout = .seconds(1)
        }
    }
}

/// What the servers of a test saw, in the order of their ends.
private final class Outcomes: Sendable {
    typealias Exchange = (sent: Transfer, received: Transfer)
    private let list = Mutex<[Result<Exchange, any Error>]>([])

    func append(_ outcome: Result<Exchange, any Error>) { list.withLock { $0.append(outcome) } }

    func all(_ count: Int) async throws -> [Exchange] {
        for _ in 0..<3000 where list.withLock({ $0.count }) < count { try await Task.sleep(for: .milliseconds(10)) }
        let outcomes = list.withLock { $0 }
        #expect(outcomes.count == count)
        return try outcomes.map { try $0.get() }
    }
}

extension BlockingSocket {
    /// So many writes of 1 to 13 bytes.
    fileprivate func sendInPieces(_ writes: Int) throws -> Transfer {
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        try TCPSocket.setNoDelay(descriptor)
        var random = SeededGenerator(seed: 3)
        let sizes = (0..<writes).map { _ in Int(random.next() % 13) + 1 }
        let count = sizes.reduce(0, +)
        var all: [UInt8] = []
        while all.count < count {
            StressContent.withBytes(at: all.count, count: min(1 << 18, count - all.count)) { all += $0 }
        }
        try all.withUnsafeBytes { bytes in
            guard var next = bytes.baseAddress else { return }
            for size in sizes {
                guard Glibc.send(descriptor, next, size, Int32(MSG_NOSIGNAL)) == size else {
                    throw Errno(code: errno, call: "send \(size) bytes")
                }
                next += size
            }
        }
        finish()
        return Transfer(count: count, digest: Array(SHA256.hash(data: all)))
    }
}
