import Glibc
import IPAddressing
import KubernetesAPI
import KubernetesKit
import LinuxNetworking
import Logging
import MeshFile
import NamespaceKit
import SPIFFE
import Testing

@testable import NodeAgent
@testable import Redirection

/// A cluster of one node: an API server, `kubectl`, pods with network namespaces and cgroups of their own, and the node's agent with
/// everything real but the proxy.
final class ClusterScene {
    static let isPossible =
        geteuid() == 0 && access("/usr/sbin/nft", X_OK) == 0 && access("/usr/bin/kubectl", X_OK) == 0
        && !CgroupLayout.all.isEmpty

    let server: APIServer
    let network: TestNetwork
    let directory: ScratchDirectory
    let kubeconfig: String
    private var sandboxes: [String: TestSandbox] = [:]

    /// `hosts` of which pods are made, in their order.
    init(hosts: Int) async throws {
        server = try await APIServer.start()
        network = try TestNetwork(hosts: hosts)
        directory = try ScratchDirectory()
        kubeconfig = directory.path + "/kubeconfig"
        // What the kernel only has once it was asked for it, modules and their settings, is there before anybody looks.
        let scratch = try NetworkNamespace.make()
        try scratch.run { try RouteSocket().setUp("lo") }
        try PodRedirection(pod: "scratch", namespace: scratch, stateDirectory: directory.path).install()
        unlink(directory.path + "/scratch.redirection")
        try write(server.kubeconfig(), to: kubeconfig)
        try server.create(.nodes, ["metadata": ["name": "node-a"]])
        for name in ["shop", "open", "culvert-system"] {
            try server.create(.namespaces, ["metadata": ["name": .string(name)]])
        }
    }

    private func write(_ text: String, to path: String) throws {
        let file = try #require(fopen(path, "we"))
        fputs(text, file)
        fclose(file)
    }

    func end() async {
        sandboxes = [:]
        await server.stop()
        unlink(kubeconfig)
        _ = TestNetwork.shell("rm -rf \(directory.path)/.kube")
    }

    func kubectl(_ command: String) -> String {
        TestNetwork.shell("HOME=\(directory.path) timeout 60 kubectl --kubeconfig \(kubeconfig) \(command) 2>&1")
    }

    /// From now on nobody gets an answer of the API server's; `server.faults.clear()` ends that.
    func loseServer() {
        server.faults.add(Fault(.close))
        server.cutWatches()
    }

    // MARK: - What a kubelet does

    /// Makes the object only: no sandbox, no address.
    @discardableResult
    func schedule(_ name: String, in namespace: String = "shop", spec: JSON = [:]) throws -> String {
        var object: JSON = [
            "metadata": ["name": .string(name), "namespace": .string(namespace)],
            "spec": ["nodeName": "node-a", "containers": [["name": "app", "image": "app"]]],
        ]
        for member in spec.keys { object["spec"][member] = spec[member] }
        return try #require(try server.create(.pods, object)["metadata"]["uid"].string)
    }

    /// Makes the pod's sandbox, and tells its address.
    func start(_ name: String, in namespace: String = "shop", uid: String, on host: TestNetwork.Host) throws {
        try start(name, of: namespace, uid: uid, in: host.namespace, addresses: [host.v4, host.v6])
    }

    func start(
        _ name: String, of namespace: String = "shop", uid: String, in inside: NetworkNamespace, addresses: [IPAddress]
    ) throws {
        sandboxes[uid] = try CgroupLayout.all[0].sandbox(uid, "pause", in: inside)
        try tell(name, in: namespace, addresses: addresses)
    }

    func tell(_ name: String, in namespace: String = "shop", addresses: [IPAddress], phase: String = "Running") throws {
        try server.update(.pods, namespace, name, subresource: "status") { pod in
            pod["status"]["phase"] = .string(phase)
            pod["status"]["podIP"] = addresses.first.map { .string($0.description) } ?? nil
            pod["status"]["podIPs"] = .array(addresses.map { ["ip": .string($0.description)] })
        }
    }

    @discardableResult
    func run(_ name: String, in namespace: String = "shop", on host: TestNetwork.Host, spec: JSON = [:]) throws
        -> String
    {
        let uid = try schedule(name, in: namespace, spec: spec)
        try start(name, in: namespace, uid: uid, on: host)
        return uid
    }

    /// Its processes end.
    func stop(uid: String) { sandboxes[uid] = nil }

    func delete(_ name: String, in namespace: String = "shop", uid: String) throws {
        stop(uid: uid)
        try server.delete(.pods, namespace, name, gracePeriodSeconds: 0)
    }

    // MARK: - The agent

    /// The next agent of the node, while `body` runs. Then it is killed, if `isCancelled`.
    func withAgent(
        onExit: Agent.OnExit = .leave, isCancelled: Bool = false,
        _ body: (Agent, KubernetesPodSource) async throws -> Void
    ) async throws {
        let run = try AgentDirectory(path: directory.runDirectory)
        let client = KubernetesClient(
            try ClusterConfiguration.load(kubeconfig: kubeconfig, environment: [:]), userAgent: "culvert/test")
        let configuration = KubernetesCluster.Configuration(
            node: "node-a", trustDomain: try TrustDomain("culvert.demo"),
            enrolment: EnrolmentRule(label: MeshFile.defaultEnrolmentLabel, ownNamespace: "culvert-system"))
        let source = KubernetesPodSource(client, configuration, logger: quietLogger)
        let report = AgentReport(
            pid: getpid(), node: "node-a", startedAt: 0, backend: .init(chosen: "nft", asked: "nft", reason: ""),
            probesBy: .init(chosen: "off", asked: "off", reason: ""),
            guardMode: "off", pinDirectory: "", proxyCgroup: nil, proxyKnown: "")
        let agent = Agent(
            node: "node-a", source: source, namespaces: try NodePodNamespaces(notes: run.notes),
            redirector: try KernelPodRedirector(stateDirectory: run.pods, logger: quietLogger),
            handoff: try ZDSPodHandoff(socketPath: run.zdsSocket, logger: quietLogger),
            publisher: DiscoveryMeshPublisher(socketPath: run.xdsSocket, logger: quietLogger), onExit: onExit,
            report: (run.report, report),
            reporter: ClusterReporter(
                client,
                .init(
                    node: "node-a", namespace: "culvert-system", version: "1.2.3", runDirectory: directory.runDirectory),
                source: source,
                logger: quietLogger),
            logger: quietLogger)
        let file = run.report
        defer { file.remove() }
        try await agent.running(isCancelled: isCancelled) { try await body($0, source) }
    }

    // MARK: - What is seen from outside

    /// The agent's annotation; nil for none.
    func status(_ name: String, in namespace: String = "shop") -> PodEnrolmentStatus? {
        let pod = server.get(.pods, namespace, name)
        return pod?["metadata"]["annotations"][PodEnrolmentStatus.annotation].string.flatMap(
            PodEnrolmentStatus.init(text:))
    }

    func awaitStatus(
        _ name: String, in namespace: String = "shop", _ state: PodEnrolmentStatus.State?,
        _ location: SourceLocation = #_sourceLocation
    ) async {
        let isSo = await server.wait(for: .pods, namespace, name, atMost: .seconds(30)) { pod in
            let text = pod?["metadata"]["annotations"][PodEnrolmentStatus.annotation].string
            return text.flatMap(PodEnrolmentStatus.init(text:))?.state == state
        }
        #expect(isSo, "\(name) is \(status(name, in: namespace)?.text ?? "without a status")", sourceLocation: location)
    }

    /// The rules in a pod, without what they have counted.
    func rules(_ host: TestNetwork.Host) throws -> String { try host.shell("nft -s list ruleset") }

    func isRedirected(_ host: TestNetwork.Host) throws -> Bool { try rules(host).contains("culvert") }
}
