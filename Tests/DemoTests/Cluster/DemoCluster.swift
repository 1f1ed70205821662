import Glibc
import IPAddressing
import KubernetesKit
import LinuxNetworking
import NamespaceKit
import Redirection
import Testing

@testable import culvert

/// A cluster of two nodes on which everything of Culvert's is a process of its own, started as `deploy/base` says: the authority, and on
/// each node an agent and a proxy. The API server is a stand-in; the test is the kubelet. Not for two threads at a time.
final class DemoCluster {
    /// Culvert's own namespace, and that of the pods.
    static let home = "culvert-system"
    static let namespace = "demo"
    static let label = "culvert.dev/mtls-enabled"
    /// Connections of a proxy that ends have so long: less than deployed, for a test that does not wait.
    static let drain = Duration.seconds(3)
    private static let patience = Duration.seconds(60)

    static let isPossible =
        geteuid() == 0 && Kubectl.isInstalled && !TestSandbox.hierarchies.isEmpty && (try? Cgroup.root()) != nil
        && access("/usr/sbin/nft", X_OK) == 0

    /// A node's processes.
    final class NodeAgents {
        fileprivate(set) var agent: DemoProcess?
        fileprivate(set) var proxy: DemoProcess?
        fileprivate var proxyPod = ""
    }

    /// A pod with its processes, as far as they run.
    final class RunningPod {
        let name: String
        let uid: String
        let node: ClusterNetwork.Node
        let place: ClusterNetwork.Place
        fileprivate var sandbox: TestSandbox?
        fileprivate var program: DemoProcess?

        fileprivate init(_ name: String, _ uid: String, _ node: ClusterNetwork.Node, _ place: ClusterNetwork.Place) {
            (self.name, self.uid, self.node, self.place) = (name, uid, node, place)
        }

        fileprivate func kill() {
            program?.kill()
            sandbox?.end()
        }
    }

    let server: APIServer
    let kubectl: Kubectl
    let network: ClusterNetwork
    let taps = ClusterTaps()
    private let directory: RunDirectory
    private let prefix = "cvt-cluster-\(getpid())-"
    private let parent: ParentPipe
    private let relay: Relay
    private let binary: String
    private var authority: DemoProcess?
    private(set) var agents: [String: NodeAgents] = [:]
    private(set) var pods: [String: RunningPod] = [:]
    private var proxiesMade = 0

    init() async throws {
        binary = try #require(culvertBinary)
        directory = try RunDirectory(path: "/tmp/cvt-cluster-\(getpid())")
        parent = try ParentPipe()
        network = try ClusterNetwork()
        var configuration = APIServer.Configuration()
        configuration.alternativeHosts = [ClusterNetwork.controlPlaneAddress.v4.description]
        server = try await APIServer.start(configuration)
        kubectl = try Kubectl(server)
        relay = try Relay(
            in: network.controlPlane, listening: SocketAddress(ClusterNetwork.controlPlaneAddress.v4, port: 6443),
            to: SocketAddress(.loopback(.v4), port: UInt16(server.port)))
        for node in network.nodes {
            try boot(node)
            try server.create(
                .nodes,
                [
                    "metadata": ["name": .string(node.name)],
                    "spec": ["podCIDRs": ["10.244.\(node.number).0/24", "fd00:10:244:\(node.number)::/64"]],
                    "status": [
                        "addresses": .array(
                            node.address.both.map { ["type": "InternalIP", "address": .string($0.description)] })
                    ],
                ])
        }
        for name in [Self.home, Self.namespace] {
            try server.create(.namespaces, ["metadata": ["name": .string(name)]])
        }
        for file in ["agent-rbac.yaml", "authority-rbac.yaml", "proxy.yaml"] {
            for var document in try ClusterManifest.documents(file) {
                // As the kustomization does.
                let resource = try #require(Resource.stored.first { $0.kind == document["kind"].string })
                if resource.isNamespaced { document["metadata"]["namespace"] = .string(Self.home) }
                try server.create(resource, document)
            }
        }
    }

    /// What a machine has when it has just been started, but for what is on its disk.
    private func boot(_ node: ClusterNetwork.Node) throws {
        _ = try directory.makeDirectory(node.name)
        let path = directory.file(node.name)
        let output = TestNetwork.shell(
            """
            cd \(path) && { umount \(path)/bpf 2>/dev/null; rm -rf run; mkdir -p run bpf state trust && chmod 700 run &&
            mount -t bpf bpf \(path)/bpf; } 2>&1
            """)
        try #require(output == "")
        agents[node.name] = NodeAgents()
        try taps.watch(node.name, "eth0", in: node.namespace)
    }

    /// Everything ends, whatever state it is in.
    func end() async {
        for pod in pods.values { pod.kill() }
        for node in agents.values {
            node.proxy?.kill()
            node.agent?.kill()
        }
        authority?.kill()
        pods = [:]
        await server.stop()
        for name in ClusterNetwork.nodeNames { _ = TestNetwork.shell("umount \(directory.file(name))/bpf 2>&1") }
        _ = try? directory.removeLeftovers(namespacePrefix: prefix)
        directory.remove()
    }

    // MARK: - Culvert

    func startAuthority() async throws {
        let pod = "culvert-ca-0"
        try makePod(pod, in: Self.home, on: network.nodes[0], account: "culvert-ca")
        var command = try ClusterManifest("authority.yaml", container: "ca").command(
            node: network.nodes[0].name, directories: ["run": try directory.makeDirectory("ca-run")])
        command.set("data", try directory.makeDirectory("ca"))
        authority = try startInCluster(pod, command, account: "culvert-ca", in: network.controlPlane)
        // The kubelet mounts it into the proxies' pods, which do not start before.
        let bundle = await server.wait(for: .configMaps, Self.home, "culvert-trust-bundle", atMost: Self.patience) {
            $0?.at("data")["bundle.pem"].string != nil
        }
        try #require(bundle, "\(logTails)")
    }

    /// As the DaemonSet upgrades it: the old one is ended first, the new one is there when it is ready.
    func replaceAgent(of node: ClusterNetwork.Node) async throws {
        let processes = try processes(of: node)
        let pod = "culvert-agent-\(node.name)"
        if let old = processes.agent {
            old.signal(SIGTERM)
            try await wait("the old agent of \(node.name) to end") { !old.isRunning }
            #expect(old.succeeded, "\(old.ending ?? "")")
            try server.delete(.pods, Self.home, pod, gracePeriodSeconds: 0)
        }
        try makePod(pod, in: Self.home, on: node, account: "culvert-agent", spec: ["hostNetwork": true])
        var command = try ClusterManifest("agent.yaml", container: "agent").command(
            node: node.name,
            directories: ["run": directory.file("\(node.name)/run"), "bpf": directory.file("\(node.name)/bpf")])
        command.set("drain-timeout", "\(2 * Self.drain.components.seconds)s")
        processes.agent = try startInCluster(pod, command, account: "culvert-agent", in: node.namespace)
        let ready = SocketAddress(node.address.v4, port: 15022)
        try await wait("the agent of \(node.name)") { [network] in
            Self.isReady(ready, from: network.controlPlane)
        }
    }

    /// The new one beside the old one, each in its own pod and cgroup; returns when it is ready and the old one was told to end.
    func startProxy(of node: ClusterNetwork.Node) async throws -> DemoProcess? {
        let processes = try processes(of: node)
        proxiesMade += 1
        let pod = "culvert-proxy-\(proxiesMade)"
        try makePod(pod, in: Self.home, on: node, account: "culvert-proxy")
        let place = try network.addPod("proxy-\(proxiesMade)", on: node)
        try tell(pod, in: Self.home, place.address.both)
        let token = try directory.makeDirectory("\(pod)-token")
        try TextFile.write(
            token + "/token",
            try server.token(Self.home, serviceAccount: "culvert-proxy", audiences: ["culvert-ca"], pod: pod))
        let bundle = server.get(.configMaps, Self.home, "culvert-trust-bundle")?.at("data")["bundle.pem"].string
        try TextFile.write(directory.file("\(node.name)/trust/bundle.pem"), try #require(bundle))
        var command = try ClusterManifest("proxy.yaml", container: "proxy").command(
            node: node.name,
            ["CULVERT_CA_SERVICE_HOST": ClusterNetwork.controlPlaneAddress.v4.description],
            directories: [
                "run": directory.file("\(node.name)/run"), "bpf": directory.file("\(node.name)/bpf"),
                "state": directory.file("\(node.name)/state"), "trust": directory.file("\(node.name)/trust"),
                "token": token,
            ])
        command.set("drain-timeout", "\(Self.drain.components.seconds)s")
        command.set("cgroup", try DemoCgroups.make(prefix + pod))
        let (old, oldPod) = (processes.proxy, processes.proxyPod)
        processes.proxy = try start(pod, binary, command.arguments, in: place.namespace)
        processes.proxyPod = pod
        let ready = SocketAddress(place.address.v4, port: 15021)
        try await wait("the proxy of \(node.name)") { [network] in Self.isReady(ready, from: network.controlPlane) }
        if let old {
            old.signal(SIGTERM)
            try server.delete(.pods, Self.home, oldPod, gracePeriodSeconds: 0)
        }
        return old
    }

    private func processes(of node: ClusterNetwork.Node) throws -> NodeAgents { try #require(agents[node.name]) }

    private static func isReady(_ address: SocketAddress, from namespace: NetworkNamespace) -> Bool {
        let reply = try? namespace.run {
            try HTTPProbe(address: address, path: "/healthz/ready").run(
                over: .connect(to: address, limit: .seconds(2)))
        }
        return reply?.status == 200
    }

    /// With what a pod has of its service account.
    private func startInCluster(
        _ name: String, _ command: ClusterManifest.Command, account: String, in namespace: NetworkNamespace
    ) throws -> DemoProcess {
        let mount = directory.file("\(name)-account")
        try server.writeServiceAccountMount(to: mount, Self.home, serviceAccount: account, pod: name)
        let script = """
            mount -t tmpfs run /run && mkdir -p /run/secrets/kubernetes.io &&
            ln -s "$1" /run/secrets/kubernetes.io/serviceaccount && shift && exec "$@"
            """
        let environment = command.environment.merging([
            "KUBERNETES_SERVICE_HOST": ClusterNetwork.controlPlaneAddress.v4.description,
            "KUBERNETES_SERVICE_PORT": "6443", "HOSTNAME": name,
        ]) { $1 }
        return try start(
            name, "/usr/bin/unshare",
            ["-m", "--propagation", "slave", "/bin/sh", "-c", script, "sh", mount, "/usr/bin/env", "-u", "KUBECONFIG"]
                + environment.map { "\($0.key)=\($0.value)" } + [binary] + command.arguments, in: namespace)
    }

    private func start(
        _ name: String, _ executable: String, _ arguments: [String], in namespace: NetworkNamespace
    ) throws -> DemoProcess {
        let process = try DemoProcess(
            name, executable: executable, arguments: arguments, in: namespace, logPath: directory.file("\(name).log"),
            parent: parent)
        try directory.note(process.stamp)
        return process
    }

    // MARK: - What a kubelet does

    /// One that was on the node before that was started again: as the same object, or another one of the same name.
    func runAgain(
        _ name: String, on node: ClusterNetwork.Node, isSameObject: Bool, look: (RunningPod) throws -> Void
    ) async throws {
        var uid: String?
        if isSameObject {
            uid = try #require(server.get(.pods, Self.namespace, name)?["metadata"]["uid"].string)
        } else {
            try server.delete(.pods, Self.namespace, name, gracePeriodSeconds: 0)
        }
        try await run(name, on: node, uid: uid, look: look)
    }

    /// A pod with the demo's echo server, from its object to its address in the API; with `uid` the object is there already. `look` is called
    /// when it has its network, and Culvert has not seen it yet.
    func run(
        _ name: String, on node: ClusterNetwork.Node, uid: String? = nil, look: (RunningPod) throws -> Void
    ) async throws {
        let uid = try uid ?? makePod(name, in: Self.namespace, on: node, account: "default")
        let place = try network.addPod(name, on: node)
        let running = RunningPod(name, uid, node, place)
        pods[name] = running
        try taps.watch(name, place.port, in: node.namespace, pod: place.address)
        let hierarchy = TestSandbox.hierarchies[0]
        running.sandbox = try TestSandbox(
            in: place.namespace, hierarchy: hierarchy, cgroup: "\(prefix)\(uid.suffix(12))/kubepods/pod\(uid)/pause")
        try look(running)
        try await addSandbox(running)
        running.program = try start(
            "\(name)-\(uid.prefix(4))", binary, ["demo-app", "echo", "--name", name], in: place.namespace)
        let address = SocketAddress(.loopback(.v4), port: DemoTopology.Program.echo.port)
        try await wait("\(name)'s program") {
            (try? place.namespace.run { try BlockingSocket.connect(to: address, limit: .seconds(1)) }) != nil
        }
        try tell(name, in: Self.namespace, place.address.both)
    }

    /// The network plug-ins' ADD, again and again until it succeeds, as a kubelet has it.
    private func addSandbox(_ pod: RunningPod) async throws {
        var answer = ""
        try await wait("the network of \(pod.name)") {
            answer = plugin("ADD", pod)
            return answer.contains("\"ips\"")
        }
    }

    private func plugin(_ command: String, _ pod: RunningPod) -> String {
        let cni = binary + "-cni"
        let addresses = "{\"address\":\"\(pod.place.address.v4)/24\"},{\"address\":\"\(pod.place.address.v6)/64\"}"
        let configuration = """
            {"cniVersion":"1.0.0","name":"pods","type":"culvert-cni","runDir":"\(directory.file(pod.node.name))/run",\
            "prevResult":{"cniVersion":"1.0.0","ips":[\(addresses)]}}
            """
        let arguments =
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=\(Self.namespace);K8S_POD_NAME=\(pod.name);K8S_POD_UID=\(pod.uid)"
        return TestNetwork.shell(
            """
            echo '\(configuration)' | env -i CNI_COMMAND=\(command) CNI_CONTAINERID=c-\(pod.uid) CNI_IFNAME=eth0 \
            CNI_NETNS=\(pod.sandbox?.namespacePath ?? "") 'CNI_ARGS=\(arguments)' timeout 20 \(cni) 2>&1
            """)
    }

    /// `kubectl delete pod`, and what the kubelet does then: its processes end, its network is given back, it leaves the cluster.
    /// From then on nothing here holds its network namespace; returned is the node's end of its veth.
    func delete(_ name: String) async throws -> (node: ClusterNetwork.Node, port: String) {
        let pod = try #require(pods[name])
        let output = try await kubectl("delete", "pod", "-n", Self.namespace, pod.name, "--wait=false")
        try #require(output.succeeded, "\(output.error)")
        pod.program?.kill()
        #expect(plugin("DEL", pod) == "")
        pod.sandbox?.end()
        forget(pod)
        try server.confirmPodDeletion(Self.namespace, pod.name)
        return (pod.node, pod.place.port)
    }

    private func forget(_ pod: RunningPod) {
        taps.forget(pod.name)
        pods[pod.name] = nil
    }

    /// The machine loses its power: nobody on it says good-bye. Returns the pods that were on it.
    func crash(_ node: ClusterNetwork.Node) throws -> [String] {
        try network.lose(node)
        let processes = try processes(of: node)
        processes.proxy?.kill()
        processes.agent?.kill()
        let lost = pods.values.filter { $0.node === node }.sorted { $0.name < $1.name }
        for pod in lost {
            pod.kill()
            forget(pod)
        }
        taps.forget(node.name)
        return lost.map(\.name)
    }

    /// It is started again, with an agent and a proxy; and no pods yet.
    func restart(_ lost: ClusterNetwork.Node) async throws -> ClusterNetwork.Node {
        let processes = try processes(of: lost)
        try server.delete(.pods, Self.home, "culvert-agent-\(lost.name)", gracePeriodSeconds: 0)
        try server.delete(.pods, Self.home, processes.proxyPod, gracePeriodSeconds: 0)
        let node = try network.start(after: lost)
        try boot(node)
        try await replaceAgent(of: node)
        _ = try await startProxy(of: node)
        return node
    }

    @discardableResult
    private func makePod(
        _ name: String, in namespace: String, on node: ClusterNetwork.Node, account: String, spec: JSON = [:]
    ) throws -> String {
        let part: JSON = namespace == Self.home ? ["app.kubernetes.io/part-of": "culvert"] : [:]
        var object: JSON = [
            "metadata": ["name": .string(name), "namespace": .string(namespace), "labels": part],
            "spec": [
                "nodeName": .string(node.name), "serviceAccountName": .string(account),
                "containers": [["name": "app", "image": "app"]],
            ],
        ]
        for member in spec.keys { object["spec"][member] = spec[member] }
        return try #require(try server.create(.pods, object)["metadata"]["uid"].string)
    }

    private func tell(_ name: String, in namespace: String, _ addresses: [IPAddress]) throws {
        try server.update(.pods, namespace, name, subresource: "status") { pod in
            pod["status"]["phase"] = "Running"
            pod["status"]["podIP"] = addresses.first.map { .string($0.description) } ?? nil
            pod["status"]["podIPs"] = .array(addresses.map { ["ip": .string($0.description)] })
        }
    }

    // MARK: - Waiting

    func wait(_ what: @autoclosure () -> String, atMost limit: Duration = patience, until isDone: () throws -> Bool)
        async throws
    {
        let end = ContinuousClock.now + limit
        while try !isDone() {
            try #require(.now < end, "waited too long for \(what())\n\(logTails)")
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Those of the authority, the agents and the proxies.
    var logTails: String {
        let processes = [authority] + agents.values.flatMap { [$0.agent, $0.proxy] }
        return processes.compactMap(\.self).map { "\n\($0.name):\n\($0.logTail ?? "")" }.joined()
    }
}
