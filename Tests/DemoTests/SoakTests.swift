import Glibc
import LinuxNetworking
import Synchronization
import Testing

@testable import culvert

/// The whole mesh as the demo runs it, for a minute: traffic all the time, and proxies that are killed.
@Suite(
    "A mesh whose proxies are killed", .serialized,
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"), .timeLimit(.minutes(4)))
struct SoakTests {
    private static let length = Duration.seconds(60)
    /// Whose proxies are killed, round after round: either end's, and both.
    private static let victims = [[1], [0], [0, 1]]

    @Test(
        "breaks connections and corrupts none, sends nothing in plaintext, serves again in time, and stays as small as it was"
    )
    func soak() throws {
        let scene = try DemoScene("soak")
        defer { scene.remove() }
        let (network, taps) = (scene.network, scene.taps)
        let mesh = try scene.startMesh()
        defer { mesh.stop() }
        let traffic = DemoTraffic(network: network)
        let before = try usage(mesh)
        let end = ContinuousClock.now + Self.length

        let clients = try SoakClient.Kind.allCases.flatMap { kind in
            try (0..<2).map { try SoakClient(kind, traffic, seed: $0) }
        }
        try expectProgress(clients, "at first")
        #expect(clients.allSatisfy { $0.state.broken == 0 })

        let nodes = network.topology.nodes
        var rounds = 0
        while ContinuousClock.now < end - .seconds(12) {
            let victims = Self.victims[rounds % Self.victims.count].map { nodes[$0] }
            for node in victims { mesh.killProxy(of: node) }
            usleep(1_500_000)
            for node in victims { try mesh.startProxy(of: node) }
            try expectRecovery(mesh, traffic)
            try expectProgress(clients, "after round \(rounds)")
            // So that what comes next breaks something.
            usleep(1_000_000)
            rounds += 1
        }
        try #require(rounds >= 3)
        while ContinuousClock.now < end - .seconds(2) { usleep(100_000) }

        for client in clients { client.stop() }
        let outcomes = clients.map(\.state)
        for (client, state) in zip(clients, outcomes) { print("\(client.kind): \(state), \(rounds) rounds") }
        #expect(outcomes.flatMap(\.wrong) == [])
        #expect(outcomes.contains { $0.broken > 0 })
        #expect(taps.count(network.topology.pairs.filter(\.isProtected)).plaintext == 0)
        #expect(taps.report.failures == [])
        try mesh.checkAlive()
        try expectLevel(mesh, before)
    }

    /// Not only those that try once: every client goes on.
    private func expectProgress(_ clients: [SoakClient], _ moment: String) throws {
        let states = clients.map(\.state)
        let goOn = try clients.goOn(from: states, within: .seconds(15))
        try #require(goOn, "\(moment): \(states)")
    }

    /// Within twenty seconds every pair of pods talks again.
    private func expectRecovery(_ mesh: MeshProcesses, _ traffic: DemoTraffic) throws {
        var ways = traffic.network.topology.pairs.filter(\.isProtected).flatMap(DemoTraffic.ways)
        let recovered = try Interruption.wait(atMost: .seconds(20)) {
            try mesh.checkAlive()
            while let way = ways.first {
                guard case .answered = traffic.attempt(way, limit: .seconds(2)) else { return false }
                ways.removeFirst()
            }
            return true
        }
        try #require(recovered, "\(ways.first.map { "\($0)" } ?? "")\n\(mesh.logTails)")
    }

    // MARK: What the processes have

    private struct Usage: CustomStringConvertible {
        let descriptors: Int
        let kibibytes: Int

        var description: String { "\(descriptors) descriptors, \(kibibytes) KiB" }
    }

    private func usage(_ mesh: MeshProcesses) throws -> [String: Usage] {
        try mesh.culvert.reduce(into: [:]) { usage, process in
            let proc = "/proc/\(process.stamp.pid)"
            let pages = try TextFile.read("\(proc)/statm").split(separator: " ")
            usage[process.name] = Usage(
                descriptors: DirectoryTree.entries("\(proc)/fd").count, kibibytes: try #require(Int(pages[1])) * 4)
        }
    }

    /// Tunnels of each loop may stay, and what an allocator or a pool of chunks keeps; connections and what they held may not.
    private func expectLevel(_ mesh: MeshProcesses, _ before: [String: Usage]) throws {
        let isLevel = try Interruption.wait(atMost: .seconds(5)) {
            try usage(mesh).allSatisfy { $0.value.descriptors <= (before[$0.key]?.descriptors ?? 0) + 32 }
        }
        let after = try usage(mesh)
        #expect(isLevel, "\(before), then \(after)")
        for (name, usage) in after {
            let first = try #require(before[name])
            print("\(name): \(first); then \(usage)")
            #expect(usage.kibibytes < first.kibibytes + 32 * 1024, "\(name): \(first), then \(usage)")
        }
    }
}
