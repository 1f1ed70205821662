import FoundationEssentials
import Glibc
import LinuxNetworking
import Testing

@testable import culvert

/// The whole mesh as the demo runs it, with leaves that live seconds: the root is replaced while everybody talks.
@Suite(
    "A root that is replaced under traffic", .serialized,
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"), .timeLimit(.minutes(3)))
struct RotationTrafficTests {
    /// A root is revoked when its last leaf is sure to be gone: with these after 16 s.
    private static let lifetimes = [
        "--leaf-ttl", "14s", "--intermediate-ttl", "10m", "--root-ttl", "2h", "--connection-age", "1s", "--clock-skew",
        "1s",
    ]

    /// What `culvert ca status --format json` says, as far as is looked at.
    private struct Status: Decodable {
        struct Authority: Decodable {
            let id: String
            let kind: String
            let state: String
            let leaves: UInt64
        }
        struct Node: Decodable {
            let name: String
            let acknowledgedSequence: UInt64
        }
        struct Step: Decodable {
            let step: String
            let reason: String?
        }

        let bundleSequence: UInt64
        let authorities: [Authority]
        let nodes: [Node]
        let history: [Step]

        var roots: [Authority] { authorities.filter { $0.kind == "root" } }
        var active: Authority? { roots.first { $0.state == "active" } }
    }

    private func status(_ mesh: MeshProcesses) throws -> Status {
        try JSONDecoder().decode(Status.self, from: Data(try mesh.administer(["status", "--format", "json"]).utf8))
    }

    @Test("breaks no connection; in an emergency it is done in seconds, and what breaks is counted")
    func rotation() throws {
        let scene = try DemoScene("rotate")
        defer { scene.remove() }
        let mesh = try scene.startMesh(authority: Self.lifetimes)
        defer { mesh.stop() }
        let traffic = DemoTraffic(network: scene.network)
        let clients = try SoakClient.Kind.allCases.map { try SoakClient($0, traffic, seed: 0) }
        defer { for client in clients { client.stop() } }

        let first = try #require(try status(mesh).active)
        print(try mesh.administer(["status"]))
        try rotate(mesh, ["--timeout", "60s"]) { print(try mesh.administer(["status"])) }
        print(try mesh.administer(["status"]))
        let second = try status(mesh)
        #expect(second.roots.first { $0.id == first.id }?.state == "revoked")
        #expect(second.active?.id != first.id)
        #expect(second.bundleSequence == 3)
        let haveAcknowledged = try Interruption.wait(atMost: .seconds(15)) {
            try status(mesh).nodes.allSatisfy { $0.acknowledgedSequence == 3 }
        }
        #expect(haveAcknowledged)
        try expectProgress(clients)
        let planned = clients.map(\.state)
        let broken = planned.reduce(0) { $0 + $1.broken }
        #expect(broken == 0, "\(planned.map(\.reasons))\n\(mesh.logTails)")

        try rotate(mesh, ["--emergency", "--reason", "a test of it", "--timeout", "30s"])
        let third = try status(mesh)
        #expect(third.active?.id != second.active?.id)
        #expect(third.roots.count { $0.state == "revoked" } == 2)
        #expect(third.history.contains { $0.step == "started" && $0.reason == "a test of it" })
        try expectProgress(clients)
        for client in clients { client.stop() }
        let states = clients.map(\.state)
        let failed = zip(states, planned).map { $0.broken - $1.broken }.reduce(0, +)
        print(
            "planned: \(planned.map(\.completed)) completed, 0 broken; emergency: \(failed) broken, \(states.map(\.reasons))"
        )
        #expect(states.flatMap(\.wrong) == [])
        #expect(scene.taps.count(scene.network.topology.pairs.filter(\.isProtected)).plaintext == 0)
        try mesh.checkAlive()
    }

    /// Begun by the operator, and followed to its end.
    private func rotate(
        _ mesh: MeshProcesses, _ arguments: [String], meanwhile: () throws -> Void = {}
    ) throws {
        _ = try mesh.administer(["rotate", "--no-wait"] + arguments)
        try meanwhile()
        // It may be over already.
        guard try mesh.administer(["status", "--format", "json"]).contains("\"rotation\"") else { return }
        _ = try mesh.administer(["rotate", "--resume"] + arguments.suffix(2), atMost: .seconds(90))
    }

    /// Every client goes on.
    private func expectProgress(_ clients: [SoakClient]) throws {
        let before = clients.map(\.state)
        let goOn = try clients.goOn(from: before, within: .seconds(15))
        try #require(goOn, "\(before)")
    }
}
