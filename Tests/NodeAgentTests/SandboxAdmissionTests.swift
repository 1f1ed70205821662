import CNI
import FoundationEssentials
import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import NodeAgent

@Suite("Pods about to start")
struct SandboxAdmissionTests {
    private static let known = ClusterState.Pod(
        uid: "web-uid", name: "web", namespace: "shop", serviceAccount: "default", node: "node-a", addresses: [],
        netns: nil, isEnterable: true, isStrict: true)

    private func question(_ kind: SandboxQuestion.Kind = .add, netns: String = "/run/netns/a") throws -> SandboxQuestion
    {
        SandboxQuestion(
            kind,
            SandboxNote(
                netns: netns, container: "c", pod: .init(namespace: "shop", name: "web", uid: "web-uid"),
                addresses: [try #require(IPAddress("10.0.0.1"))]))
    }

    @Test("wait until the cluster knows them; are answered at once when they are none of the mesh's")
    func verdicts() throws {
        var admissions = SandboxAdmissions()
        guard case .wait = admissions.take(try question(), { _ in .unknown }) else {
            Issue.record("not made to wait")
            return
        }
        #expect(admissions.take(try question(), { _ in .notEnrolled }) == .answer(.notEnrolled))
        #expect(admissions.take(SandboxQuestion(.status), { _ in .unknown }) == .answer(.ready))
        #expect(admissions.pods.isEmpty)
        #expect(admissions.take(try question(.check), { _ in .enrolled(Self.known) }) == .enrol(uid: "web-uid"))
        #expect(admissions.pods.isEmpty)
        #expect(admissions.take(try question(), { _ in .enrolled(Self.known) }) == .enrol(uid: "web-uid"))
        let pod = try #require(admissions.pods["web-uid"])
        #expect(pod.netns == "/run/netns/a" && pod.addresses.map(\.description) == ["10.0.0.1"] && pod.isStrict)
    }

    @Test("are desired until the cluster says the same address, takes them out, or their namespace is gone")
    func desired() throws {
        let other = try pod("other")
        func desired(
            _ known: [ClusterState.Pod], _ admission: PodAdmission = .enrolled(Self.known), isThere: Bool = true,
            again: [ClusterState.Pod] = []
        ) throws -> [[String]] {
            var admissions = SandboxAdmissions()
            _ = admissions.take(try question()) { _ in .enrolled(Self.known) }
            return [known, again].map { known in
                admissions.desired(known, { _ in admission }, isThere: { _ in isThere })
                    .map { "\($0.uid) \($0.addresses.first?.description ?? "") \($0.netns ?? "nowhere")" }
            }
        }
        func web(_ address: String) throws -> ClusterState.Pod {
            ClusterState.Pod(
                uid: "web-uid", name: "web", namespace: "shop", serviceAccount: "default", node: "node-a",
                addresses: [try #require(IPAddress(address))], netns: nil, isEnterable: true)
        }
        let (admitted, others) = ("web-uid 10.0.0.1 /run/netns/a", "other 10.0.0.1 /run/netns/other")
        #expect(try desired([other]) == [[others, admitted], [admitted]])
        // The API still has the address of the sandbox before.
        #expect(try desired([web("10.0.0.9")]) == [[admitted], [admitted]])
        #expect(try desired([web("10.0.0.1")]) == [["web-uid 10.0.0.1 nowhere"], []])
        #expect(try desired([other], .notEnrolled) == [[others], []])
        #expect(try desired([other], .unknown) == [[others], []])
        #expect(try desired([other], isThere: false) == [[others], []])
    }
}

/// The whole agent, and the CNI plugin's questions over its socket.
@Suite(
    "Agent with pods about to start", .serialized, .timeLimit(.minutes(1)),
    .enabled(if: geteuid() == 0, "needs root: makes network namespaces"))
final class SandboxServerTests: Sendable {
    private let network: TestNetwork
    private let directory: ScratchDirectory

    init() throws {
        network = try TestNetwork(hosts: 2)
        directory = try ScratchDirectory()
    }

    private func ask(
        _ kind: SandboxQuestion.Kind, pod: String = "web", namespace: String = "shop"
    ) async throws -> SandboxAnswer? {
        let sandbox = SandboxNote(
            netns: directory.netns, container: "c1", pod: .init(namespace: namespace, name: pod, uid: "\(pod)-uid"),
            addresses: [network.hosts[0].v4])
        let socket = try SeqpacketSocket(connectingTo: AgentFiles.socket(directory.runDirectory))
        try await socket.send(SandboxQuestion(kind, kind == .status ? nil : sandbox).bytes)
        return try await socket.receive(deadline: .now + .seconds(20)).flatMap { SandboxAnswer(bytes: $0.bytes) }
    }

    private func tables() throws -> String { try network.hosts[0].shell("nft list tables") }

    @Test(
        "is answered when the pod is captured, also if the cluster tells of it only later; refused when it is not told")
    func add() async throws {
        let web = network.hosts[0]
        directory.writeMesh(network, isEnrolled: true)
        let whole = try String(contentsOfFile: directory.mesh, encoding: .utf8)
        let withoutWeb = whole.replacing("uid: web-uid", with: "uid: before-uid").replacing(
            "name: web", with: "name: before"
        )
        .replacing("node: node-a", with: "node: node-b")
        try withoutWeb.write(toFile: directory.mesh, atomically: true, encoding: .utf8)
        try await directory.withSandboxes { agent in
            #expect(
                await eventually {
                    EnrolledNamespaces.read(AgentFiles.enrolledNamespaces(directory.runDirectory))?.names == ["shop"]
                })
            #expect(try await ask(.status) == .ready)
            #expect(try await ask(.add, pod: "peer", namespace: "open") == .notEnrolled)
            guard case .refused(let reason)? = try await ask(.add) else {
                Issue.record("not refused")
                return
            }
            #expect(reason.contains("shop/web"))
            #expect(try tables() == "")
            async let answer = ask(.add)
            try whole.write(toFile: directory.mesh, atomically: true, encoding: .utf8)
            #expect(try await answer == .ready)
            #expect(try tables() == "table inet culvert\n")
            #expect(agent.podPhases == ["web-uid": .enrolled])
            #expect(throws: Errno(code: ECONNREFUSED, call: "connection")) {
                try web.namespace.run {
                    _ = try TestConnection.connect(to: SocketAddress(network.hosts[1].v4, port: 8080)).raw
                }
            }
            #expect(try await ask(.check) == .ready)
            _ = try web.shell("nft delete table inet culvert")
            #expect(try await ask(.check) == .refused("missing: ruleset"))
        }
        #expect(try tables() == "")
    }

    @Test("what is no question is said so")
    func malformed() async throws {
        directory.writeMesh(network, isEnrolled: false)
        try await directory.withSandboxes { _ in
            let socket = try SeqpacketSocket(connectingTo: AgentFiles.socket(directory.runDirectory))
            try await socket.send(Array("hello".utf8))
            let packet = try await socket.receive(deadline: .now + .seconds(20))
            #expect(packet.flatMap { SandboxAnswer(bytes: $0.bytes) } == .refused("the question is not understood"))
        }
    }
}

extension ScratchDirectory {
    fileprivate func withSandboxes(_ body: (Agent) async throws -> Void) async throws {
        try await withAgent(verificationInterval: .seconds(60), hasSandboxes: true, body)
    }
}
