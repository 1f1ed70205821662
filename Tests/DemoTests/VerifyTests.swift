import FoundationEssentials
import Glibc
import IPAddressing
import LinuxNetworking
import MeshFile
import NodeAgent
import Testing

@testable import culvert

@Suite("culvert verify: what is asked, and what the wire says")
struct PairQuestionTests {
    private static let cluster: ClusterState = {
        let topology = DemoTopology()
        let text = topology.meshFile(netnsDirectory: "/run/netns")
        guard let file = try? MeshFile.parse(text: text, name: "mesh.yaml") else { fatalError("the demo's mesh file") }
        return ClusterState(file)
    }()

    @Test(
        "a pod is named, or given by any of its addresses; the port is the lowest that a service leads to",
        arguments: [
            ("shop/client", "shop/web", nil, "10.244.2.2", 8080), ("10.244.1.2", "shop/web", 1, "10.244.2.2", 1),
            ("shop/client", "fd00:10:244:2::2", nil, "fd00:10:244:2::2", 8080),
        ] as [(String, String, UInt16?, String, UInt16)])
    func asked(_ source: String, _ destination: String, _ port: UInt16?, _ address: String, _ chosen: UInt16) throws {
        let question = try PairQuestion(source: source, destination: destination, port: port, in: Self.cluster)
        #expect(question.source.name == "client" && question.destination.name == "web")
        #expect(question.address == IPAddress(address) && question.port == chosen)
    }

    @Test(
        "what cannot be answered is refused with what to do",
        arguments: [
            ("shop/client", "shop/nobody", nil, "there are"), ("shop/client", "10.9.9.9", 1, "there are"),
            ("shop/client", "10.244.1.2", 1, "does not leave it"), ("shop/web", "shop/client", nil, "--port"),
        ] as [(String, String, UInt16?, String)])
    func refused(_ source: String, _ destination: String, _ port: UInt16?, _ hint: String) {
        #expect {
            _ = try PairQuestion(source: source, destination: destination, port: port, in: Self.cluster)
        } throws: { error in
            guard let failure = error as? CommandFailure else { return false }
            return failure.hint?.contains(hint) == true
        }
    }

    @Test("tunnels count by their direction, whichever side opened them; all other ports of the pair are plaintext")
    func wire() throws {
        func flow(_ source: String, _ destination: String, _ bytes: UInt64) throws -> WireFlow {
            WireFlow(
                source: try #require(SocketAddress(source)), destination: try #require(SocketAddress(destination)),
                payloadBytes: bytes, beginsWithTLS: nil)
        }
        let flows = try [
            flow("10.0.0.1:4000", "10.0.0.2:15008", 1), flow("10.0.0.2:15008", "10.0.0.1:4000", 2),
            flow("10.0.0.2:4001", "10.0.0.1:15008", 4), flow("10.0.0.1:4000", "10.0.0.2:80", 8),
            flow("10.0.0.2:80", "10.0.0.1:4000", 16), flow("10.0.0.1:4000", "10.0.0.3:80", 32),
        ]
        let wire = PairWire(
            flows, from: [try #require(IPAddress("10.0.0.1"))], to: [try #require(IPAddress("10.0.0.2"))],
            tunnelPort: 15008)
        #expect(wire.tunnelSent == 1 && wire.tunnelReceived == 6 && wire.plaintext == 24 && wire.isTunnelled)
        #expect(!PairWire(Array(flows.prefix(1)), from: [], to: [], tunnelPort: 15008).isTunnelled)
    }

    @Test("one thing wrong makes the status 1, else one unknown 3")
    func status() {
        var result = PairVerification(node: "a", source: "s", destination: "d", port: 1)
        #expect(result.exitCode == 0)
        result.add("pair", "x", .ok, "")
        result.add("pair", "x", .unknown, "")
        #expect(result.exitCode == 3 && result.text(Ink(isColoured: false)).contains("Proven in part: s → d, port 1"))
        result.add("pair", "x", .failed, "why", advice: "do this")
        #expect(result.exitCode == 1 && result.text(Ink(isColoured: false)).contains("→ do this"))
    }
}

@Suite(
    "culvert verify: pairs of a mesh that runs", .serialized,
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"), .timeLimit(.minutes(3)))
struct VerifyTests {
    private struct Mesh {
        let scene: DemoScene
        let cluster: ClusterState

        func verify(
            _ source: String, _ destination: String, on node: String, port: UInt16? = nil,
            limit: Duration = .seconds(20)
        ) throws -> PairVerification {
            let home = scene.directory.file(node)
            let topology = scene.network.topology
            let verifier = PairVerifier(
                question: try PairQuestion(source: source, destination: destination, port: port, in: cluster),
                cluster: cluster, node: node, runDirectory: home,
                pinDirectory: PinOption.directory(nil, runDirectory: home), limit: limit, now: Date())
            return try scene.network[try #require(topology.nodes.first { $0.name == node })].run {
                try verifier.run()
            }
        }
    }

    private func checks(_ result: PairVerification, _ verdict: PairVerification.Verdict) -> [String] {
        result.checks.filter { $0.verdict == verdict }.map { "\($0.of) \($0.check)" }
    }

    @Test("what is well is proven; each thing that is not is named", arguments: [CaptureBackend.nft, .ebpf])
    func pairs(_ backend: CaptureBackend) throws {
        let scene = try DemoScene("verify")
        defer { scene.remove() }
        let mesh = try scene.startMesh(backend: backend)
        defer { mesh.stop() }
        let file = try MeshFile.load(path: mesh.meshFile)
        let stage = Mesh(scene: scene, cluster: ClusterState(file))

        let whole = try stage.verify("shop/web", "shop/store", on: "node-b")
        #expect(whole.exitCode == 0, "\(whole.text(Ink(isColoured: false)))\n\(mesh.logTails)")
        #expect(whole.wire?.isTunnelled == true && whole.wire?.plaintext == 0)
        #expect(whole.checks.contains { $0.check == "capture" && $0.detail.hasPrefix(backend.rawValue) })
        let document = try DocumentFormat.json.text(whole)
        #expect(document.contains("\"plaintext_bytes\" : 0") && document.contains("\"verdict\" : \"ok\""))

        let half = try stage.verify("shop/client", "shop/web", on: "node-a")
        #expect(half.exitCode == 3 && checks(half, .unknown) == ["destination node"])
        #expect(half.wire?.isTunnelled == true)
        let other = try stage.verify("shop/client", "shop/web", on: "node-b")
        #expect(other.exitCode == 3 && checks(other, .unknown) == ["source node", "pair connection"])

        let closed = try stage.verify("shop/client", "shop/store", on: "node-a", port: 1)
        #expect(closed.exitCode == 1 && checks(closed, .failed) == ["pair connection"])
        let outside = try stage.verify("shop/client", "legacy/outsider", on: "node-a", port: 1, limit: .seconds(2))
        #expect(outside.exitCode == 1 && checks(outside, .failed).contains("destination enrolment"))

        mesh.killProxy(of: try #require(scene.network.topology.nodes.first { $0.name == "node-b" }))
        let dead = try stage.verify("shop/web", "shop/store", on: "node-b", limit: .seconds(2))
        #expect(dead.exitCode == 1 && dead.wire?.plaintext == 0)
        #expect(
            Set(checks(dead, .failed)) == [
                "source listeners", "source identity", "destination listeners", "destination identity",
                "destination presents", "pair connection", "pair wire",
            ])
        #expect(checks(dead, .ok).contains("source guard") && checks(dead, .ok).contains("destination guard"))
    }
}
