import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import SeededRandom
import Synchronization
import Testing

@testable import culvert

/// Every connection through the whole mesh ends where it was aimed.
@Suite(
    "Random destinations", .serialized, .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"), .timeLimit(.minutes(5)))
struct RandomDestinationTests {
    /// CULVERT_DESTINATIONS asks for more.
    private static let count = getenv("CULVERT_DESTINATIONS").flatMap { Int(String(cString: $0)) } ?? 1_000
    private static let threads = 4

    @Test(
        "of hundreds of connections to addresses and ports at random, each is answered by the one that it was made to",
        arguments: [CaptureBackend.nft, .ebpf])
    func destinations(_ backend: CaptureBackend) throws {
        let scene = try DemoScene("random")
        defer { scene.remove() }
        let mesh = try scene.startMesh(backend: backend)
        defer { mesh.stop() }
        let topology = scene.network.topology
        let world = try World(in: scene.network[topology.node(of: topology.client)])
        defer { world.stop() }
        let traffic = DemoTraffic(network: scene.network)
        let outcome = Outcome()
        let clients = try (0..<Self.threads).map { index in
            try SystemThread(name: "random-\(index)") {
                var random = SeededGenerator(seed: UInt64(index + 1))
                for _ in 0..<Self.count / Self.threads {
                    outcome.note(aimedAt: World.destination(&random)) { address in
                        var reader = LineReader(
                            try traffic.connect(from: topology.client, to: address, limit: .seconds(10)))
                        return try reader.line()
                    }
                }
            }
        }
        for client in clients { client.join() }
        #expect(outcome.right == Self.count / Self.threads * Self.threads)
        #expect(outcome.wrong == [], "\(mesh.logTails)")
        // The mesh had a part in it: an answer that passed it by would prove nothing.
        let areRecorded = try Interruption.wait(atMost: .seconds(10)) {
            try mesh.accessRecords().count >= outcome.right
        }
        #expect(areRecorded)
    }

    private final class Outcome: Sendable {
        private let state = Mutex((right: 0, wrong: [String]()))

        var right: Int { state.withLock { $0.right } }
        var wrong: [String] { state.withLock { $0.wrong } }

        func note(aimedAt address: SocketAddress, _ ask: (SocketAddress) throws -> String?) {
            let answer = Result { try ask(address) }
            state.withLock { state in
                if case .success("\(address)") = answer {
                    state.right += 1
                } else {
                    state.wrong.append("\(address): \(answer)")
                }
            }
        }
    }
}

/// What is outside the mesh: it answers at every address and port of a network with what it was called by.
private final class World: Sendable {
    private let isStopping = Atomic(false)
    private let thread = Mutex<SystemThread?>(nil)

    static func destination(_ random: inout SeededGenerator) -> SocketAddress {
        let ip =
            Bool.random(using: &random)
            ? IPAddress(v4: 198 << 24 | 18 << 16 | UInt32.random(in: 1..<1 << 17, using: &random))
            : IPAddress(v6High: 0x2001_0db8_0018_0000, low: random.next())
        return SocketAddress(ip, port: UInt16.random(in: 1...65535, using: &random))
    }

    init(in namespace: NetworkNamespace) throws {
        let output = try namespace.run {
            TestNetwork.shell(
                """
                (ip route add local 198.18.0.0/15 dev lo; ip -6 route add local 2001:db8:18::/64 dev lo
                nft 'add table inet world; add chain inet world in { type nat hook prerouting priority -100; }
                add rule inet world in ip daddr 198.18.0.0/15 meta l4proto tcp redirect to :7777
                add rule inet world in ip6 daddr 2001:db8:18::/64 meta l4proto tcp redirect to :7777') 2>&1
                """)
        }
        guard output.isEmpty else { throw DemoError(output) }
        let listener = try namespace.run {
            try TCPSocket.listen(on: SocketAddress(.unspecified(.v6), port: 7777), dualStack: true)
        }.release()
        let started = try SystemThread(name: "world") { [self] in serve(listener) }
        thread.withLock { $0 = started }
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        thread.withLock { $0 }?.join()
    }

    private func serve(_ listener: Int32) {
        defer { close(listener) }
        while !isStopping.load(ordering: .acquiring) {
            var waiting = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, 100) == 1, let accepted = try? TCPSocket.accept(listener) else { continue }
            let name = TCPSocket.originalDestination(accepted.raw).map { "\($0)\n" } ?? "?\n"
            _ = Array(name.utf8).withUnsafeBytes { TCPSocket.send(accepted.raw, $0) }
        }
    }
}
