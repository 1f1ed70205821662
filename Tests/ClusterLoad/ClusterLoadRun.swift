import ArgumentParser
import FoundationEssentials
import Glibc
import KubernetesAPI
import KubernetesKit
import Logging
import MeshAPI
import SPIFFE

/// The whole of a node in a busy cluster, for the benchmark and for the test that nothing is lost.
@main
struct ClusterLoadRun: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster-load", abstract: "A node's agent and proxy under the changes of a large cluster.",
        discussion: """
            Starts an API server, an authority, an agent and a proxy, each as a process of its own; makes changes at the API server, and \
            follows the agent as a proxy does. Fails unless every change arrives, the mesh is what the API server has, and a proxy that \
            comes back is told nothing that it knows. Prints what it has measured as JSON: Benchmarks/README.md says what it means.

            Needs root. The programs are those beside this one.
            """)

    @Option var pods = 300
    @Option var services = 60
    @Option(help: "In a second.") var changes = 100
    @Option var seconds = 2

    func validate() throws {
        guard services >= 1, pods >= services, changes >= 1, seconds >= 1 else {
            throw ValidationError("at least one service, change and second, and as many pods as services")
        }
    }

    func run() async throws {
        signal(SIGPIPE, SIG_IGN)
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let node = try await LoadedNode.start(
            programs: String(program[..<(program.lastIndex(of: "/") ?? program.endIndex)]))
        do {
            print(try await measure(node).text)
            await node.stop()
        } catch {
            let logs = node.logs
            await node.stop()
            throw Failure("\(error)\(logs)")
        }
    }

    private func measure(_ node: LoadedNode) async throws -> Figures {
        var figures = Figures()
        for (name, value) in [
            ("pods", pods), ("services", services), ("changes_per_second", changes), ("seconds", seconds),
        ] { figures.add(name, value) }
        let loaded = try await node.server.command("load \(pods) \(services)")
        figures.add("pod_bytes", try JSON(parsing: loaded)["podBytes"].integer ?? 0)

        // The agent waits for the answer to its first question: agent and proxy have started and know nothing yet.
        try await node.server.command("stall")
        try await node.startAuthority()
        let agent = try await node.startAgent()
        let proxy = try await node.startProxy()
        let measured = [
            ("agent", agent.pid), ("proxy", proxy.pid), ("api_server", node.server.pid), ("subscriber", getpid()),
        ]
        func use() throws -> [ProcessUse] { try measured.map { try ProcessUse($0.1) } }
        let atStart = try use()

        let subscriber = LoadedSubscriber()
        let client = WorkloadDiscoveryClient(
            socketPath: node.discoverySocket, node: APIServer.loadedNode,
            trustDomain: try TrustDomain(LoadedNode.trustDomain), logger: Logger(label: "cluster-load")
        ) { subscriber.apply($0) }
        var begin = ContinuousClock.now
        try await node.server.command("clear")
        // Served as soon as all of the cluster is known.
        try await node.wait(for: "the agent to know the cluster") { node.exists("run/xds.sock") }
        figures.add("agent_synchronisation_ms", since: begin)
        var following = Task { await client.run() }
        defer { following.cancel() }
        try await node.wait(for: "the mesh") {
            subscriber.mesh.workloadCount == pods && subscriber.mesh.serviceCount == services
        }
        figures.add("first_synchronisation_ms", since: begin)
        try await node.wait(for: "the proxy's mesh") {
            await node.proxyMetric("culvert_xds_resources_total{change=\"told\"}") ?? 0 >= pods + services
        }
        let synchronised = try use()

        subscriber.beginNoting()
        begin = .now
        try await node.server.command("change \(changes) \(seconds) \(node.file("changes"))")
        let elapsed = ContinuousClock.now - begin
        let made = try String(contentsOfFile: node.file("changes"), encoding: .utf8).split(separator: "\n")
            .compactMap { LoadChange(text: $0) }
        guard made.count == changes * seconds else { throw Failure("\(made.count) changes were made") }
        let visible = made.filter { $0.kind != .unrelated }
        do {
            try await node.wait(for: "the changes") { !subscriber.delays(of: visible).contains(nil) }
        } catch {
            let lost = zip(visible, subscriber.delays(of: visible)).filter { $1 == nil }
            throw Failure("\(lost.count) changes have not come: \(lost.prefix(5).map(\.0.text))")
        }
        let atEnd = try use()
        try await expectSame(subscriber, node)
        for (index, (name, _)) in measured.enumerated() {
            figures.add(name, atStart[index], synchronised[index], atEnd[index], over: elapsed)
        }
        figures.add("changes_seen", visible.count)
        figures.add("", delays: subscriber.delays(of: visible))
        for kind in [LoadChange.Kind.removed, .added, .serving] {
            figures.add(kind.rawValue + "_", delays: subscriber.delays(of: visible.filter { $0.kind == kind }))
        }

        following.cancel()
        await following.value
        try await node.wait(for: "the end of the stream") { await node.agentMetric("culvert_discovery_streams") == 1 }
        let upserts = "culvert_discovery_resources_total{change=\"upsert\"}"
        let before = (sent: await node.agentMetric(upserts), responses: client.status.responses)
        begin = .now
        following = Task { await client.run() }
        // Of each of the two types, one response.
        try await node.wait(for: "the mesh once more") { client.status.responses >= before.responses + 2 }
        figures.add("reconnection_ms", since: begin)
        guard await node.agentMetric(upserts) == before.sent else { throw Failure("what was known was told again") }
        guard await node.agentMetric("culvert_discovery_responses_total{state=\"refused\"}") == 0,
            await node.proxyMetric("culvert_xds_resources_total{change=\"refused\"}") == 0
        else { throw Failure("resources were refused") }
        return figures
    }

    /// The mesh is what the API server has, pod by pod.
    private func expectSame(_ subscriber: LoadedSubscriber, _ node: LoadedNode) async throws {
        let client = KubernetesClient(
            try ClusterConfiguration.load(kubeconfig: node.server.kubeconfig, environment: [:]),
            userAgent: "cluster-load")
        let mesh = subscriber.mesh
        let found = try await client.list(Pod.self).items
        guard found.count == pods, mesh.workloadCount == pods else {
            throw Failure("\(found.count) pods, and \(mesh.workloadCount) in the mesh")
        }
        for pod in found {
            guard let workload = mesh.workload(uid: pod.metadata.uid), workload.name == pod.name,
                workload.namespace == pod.namespace, workload.node == pod.spec.nodeName,
                workload.addresses.map({ "\($0)" }) == pod.status.podIPs
            else { throw Failure("pod \(pod.key) is another in the mesh") }
        }
        for slice in try await client.list(EndpointSlice.self).items {
            for endpoint in slice.endpoints {
                guard let uid = endpoint.targetRef?.uid, mesh.workload(uid: uid)?.services.count == 1 else {
                    throw Failure("an endpoint of \(slice.key) is not in the mesh")
                }
            }
        }
    }
}
