import Glibc
import LinuxNetworking
import NamespaceKit
import Testing

@testable import culvert

/// The whole mesh as the demo runs it, with clients that never stop: agents and proxies are killed, and the node is started anew.
/// Rows F1, F2, F3 and F6 of the capture checklist, as far as they need no Kubernetes.
@Suite(
    "Capture under load", .serialized, .enabled(if: geteuid() == 0, "needs root: makes network namespaces"),
    .enabled(if: culvertBinary != nil, "needs the built culvert: set CULVERT_BINARY"), .timeLimit(.minutes(3)))
struct CaptureFaultTests {
    /// A scene with its mesh and with clients at work in it.
    private struct Stage {
        let scene: DemoScene
        let mesh: MeshProcesses
        let clients: [SoakClient]

        init(_ backend: CaptureBackend) throws {
            scene = try DemoScene("faults")
            do {
                mesh = try scene.startMesh(backend: backend)
            } catch {
                scene.remove()
                throw error
            }
            let traffic = DemoTraffic(network: scene.network)
            clients = try [SoakClient.Kind.echo, .http].map { try SoakClient($0, traffic, seed: 0) }
        }

        func end() {
            for client in clients { client.stop() }
            mesh.stop()
            scene.remove()
        }

        var nodes: [DemoTopology.Node] { scene.network.topology.nodes }
        var plaintext: UInt64 { scene.taps.count(scene.network.topology.pairs.filter(\.isProtected)).plaintext }
        var broken: Int { clients.map(\.state.broken).reduce(0, +) }

        func expectProgress(_ moment: Comment) throws {
            let before = clients.map(\.state)
            let goOn = try clients.goOn(from: before, within: .seconds(30))
            try #require(goOn, "\(moment): \(clients.map(\.state))\n\(mesh.logTails)")
        }

        /// All the clients have been refused, or cut off, since.
        func expectOutage(after broken: [Int], _ moment: Comment) throws {
            let isOut = try Interruption.wait(atMost: .seconds(15)) {
                zip(clients, broken).allSatisfy { $0.state.broken > $1 }
            }
            #expect(isOut, "\(moment): \(clients.map(\.state))")
        }

        func killProxies() { for node in nodes { mesh.killProxy(of: node) } }

        func expectNoPlaintext(_ moment: Comment) throws {
            #expect(plaintext == 0, moment)
            let report = scene.taps.report
            #expect(report.missed == 0 && report.failures == [], moment)
            #expect(clients.flatMap(\.state.wrong) == [], moment)
        }
    }

    @Test(
        "F1, F2: no byte in plaintext while proxies, agents and both are killed; the clients go on when they are back",
        arguments: [CaptureBackend.nft, .ebpf])
    func killed(_ backend: CaptureBackend) throws {
        let stage = try Stage(backend)
        defer { stage.end() }
        let (mesh, clients) = (stage.mesh, stage.clients)
        try stage.expectProgress("at first")

        var before = clients.map(\.state.broken)
        stage.killProxies()
        try stage.expectOutage(after: before, "proxies killed")
        try stage.expectNoPlaintext("proxies killed")
        try mesh.startProxies()
        try stage.expectProgress("proxies started")

        before = clients.map(\.state.broken)
        mesh.killAgents()
        try stage.expectProgress("agents killed")
        #expect(clients.map(\.state.broken) == before, "agents killed: \(clients.map(\.state.reasons))")

        before = clients.map(\.state.broken)
        stage.killProxies()
        try stage.expectOutage(after: before, "all killed")
        try stage.expectNoPlaintext("all killed")
        try mesh.startAgents()
        try mesh.startProxies()
        try stage.expectProgress("all started")
        try stage.expectNoPlaintext("all started")
    }

    @Test(
        "F3: agents that take over leave every link in place and break no connection",
        arguments: [CaptureBackend.nft, .ebpf])
    func upgraded(_ backend: CaptureBackend) throws {
        let stage = try Stage(backend)
        defer { stage.end() }
        try stage.expectProgress("at first")
        let broken = stage.broken
        let pins = stage.nodes.map { stage.scene.directory.file($0.name) + "/bpf" }
        let pinned = pins.map { PinnedObjects(below: $0) }
        for round in 0..<2 {
            stage.mesh.killAgents()
            // What the last one held open is there; now it is the pins alone.
            #expect(pins.map { PinnedObjects(below: $0) } == pinned)
            try stage.mesh.startAgents()
            try stage.expectProgress("agents started again, \(round)")
            // They try their programs on a pod of their own first, which goes again.
            let areSame = try Interruption.wait(atMost: .seconds(20)) {
                pins.map { PinnedObjects(below: $0) } == pinned
            }
            #expect(areSame)
        }
        #expect(stage.broken == broken, "\(stage.clients.map(\.state.reasons))")
        try stage.expectNoPlaintext("in the end")
    }

    @Test(
        "F6: on a node that comes up again, with records of another boot and nothing else, all is as before",
        arguments: [CaptureBackend.nft, .ebpf])
    func rebooted(_ backend: CaptureBackend) throws {
        let stage = try Stage(backend)
        defer { stage.end() }
        try stage.expectProgress("at first")
        stage.mesh.killAgents()
        stage.killProxies()
        try stage.expectNoPlaintext("all killed")
        for node in stage.nodes {
            let home = stage.scene.directory.file(node.name)
            let output = TestNetwork.shell(
                """
                (umount \(home)/bpf && sed -i 's/^boot .*/boot 00000000-0000-0000-0000-000000000000/' \(home)/pods/* &&
                test $(ls \(home)/pods | wc -l) -gt 0) 2>&1
                """)
            try #require(output == "")
        }
        // The namespaces are as the network's own plugin makes them.
        for pod in stage.scene.network.topology.pods {
            _ = try stage.scene.network[pod].run {
                TestNetwork.shell(
                    """
                    nft flush ruleset; for family in -4 -6; do ip $family rule del pref 100; ip $family route flush table 133; done
                    sysctl -q net.ipv4.tcp_fwmark_accept=0 net.ipv4.fwmark_reflect=0 net.ipv6.fwmark_reflect=0 net.ipv4.tcp_timestamps=1
                    """)
            }
        }
        // Until the agent is there pods talk as they like: the gap of a node that starts pods before its agent.
        try stage.expectProgress("nobody is there")
        #expect(stage.plaintext > 0)
        try stage.mesh.startAgents()
        try stage.mesh.startProxies()
        try stage.mesh.waitForProxies()
        let gap = stage.plaintext
        try stage.expectProgress("all started")
        #expect(stage.plaintext == gap)
        #expect(stage.clients.flatMap(\.state.wrong) == [])
    }
}
