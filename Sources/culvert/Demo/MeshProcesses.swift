import Glibc
import IPAddressing
import LinuxNetworking

/// Culvert itself, as the demo runs it: an authority, and on each node an agent and a proxy. For one thread at a time.
final class MeshProcesses {
    private let network: DemoNetwork
    private let executable: String
    private let directory: RunDirectory
    private let parent: ParentPipe
    private let logs: String
    private var authority: DemoProcess?
    private var agents: [DemoProcess] = []
    private var proxies: [DemoProcess] = []
    private var programs: [DemoProcess] = []

    static let authorityPort: UInt16 = 15012
    static let attestationPort: UInt16 = 15011
    static let readinessPort: UInt16 = 15021
    private static let startLimit = Duration.seconds(30)

    private let backend: CaptureBackend

    init(
        network: DemoNetwork, directory: RunDirectory, executable: String = DemoProcess.ownExecutable,
        backend: CaptureBackend = .nft
    ) throws {
        self.network = network
        self.backend = backend
        self.executable = executable
        self.directory = directory
        parent = try ParentPipe()
        logs = try directory.makeDirectory("logs")
    }

    // MARK: - Start

    func startPrograms() throws {
        for pod in network.topology.pods {
            for program in pod.programs {
                let name = "\(pod.name)-\(program.rawValue)"
                let arguments = ["demo-app", program.rawValue, "--name", pod.name]
                let process = try start(name, arguments, in: network[pod])
                programs.append(process)
            }
        }
        for pod in network.topology.pods {
            for program in pod.programs {
                let address = SocketAddress(.loopback(.v4), port: program.port)
                try wait(for: "\(pod.name)'s \(program.rawValue) server", programs) {
                    try network[pod].run { (try? BlockingSocket.connect(to: address, limit: .seconds(1))) != nil }
                }
            }
        }
    }

    var meshFile: String { directory.file("mesh.yaml") }
    var adminSocket: String { directory.file("ca.sock") }
    var bundle: String { directory.file("ca/bundle.pem") }

    /// `options` are more of `culvert ca serve`'s own.
    func startAuthority(_ options: [String] = []) throws {
        try TextFile.write(
            meshFile, network.topology.meshFile(netnsDirectory: NamedNetworkNamespace.directory))
        let address = network.topology.authority.v4
        let process = try start(
            "ca",
            [
                "ca", "serve", "--data", try directory.makeDirectory("ca"), "--trust-domain", DemoTopology.trustDomain,
                "--mesh", meshFile, "--listen", "\(SocketAddress(address, port: MeshProcesses.authorityPort))",
                "--attest-listen", "\(SocketAddress(address, port: MeshProcesses.attestationPort))",
                "--admin-socket", adminSocket,
            ] + options, in: network[network.topology.authorityNamespace])
        authority = process
        try wait(for: "the authority", [process]) { TextFile.exists(adminSocket) && TextFile.exists(bundle) }
    }

    func startAgents() throws {
        for node in network.topology.nodes {
            var arguments = [
                "agent", "run", "--mesh", meshFile, "--node", node.name, "--run-dir", try home(of: node), "--backend",
                backend.rawValue,
            ]
            if let cgroup = try cgroup(of: node) { arguments += ["--proxy-cgroup", cgroup] }
            agents.append(try start("agent-\(node.name)", arguments, in: network[node]))
        }
        for node in network.topology.nodes {
            let home = try home(of: node)
            try wait(for: "the agent of \(node.name)", agents) {
                TextFile.exists("\(home)/zds.sock") && TextFile.exists("\(home)/xds.sock")
            }
        }
    }

    func startProxies() throws {
        for node in network.topology.nodes { try startProxy(of: node) }
    }

    /// With a join token for the first time; from then on a node has a certificate of its own. `identityOptions` are for another
    /// authority than the demo's, or another protocol.
    func startProxy(of node: DemoTopology.Node, identityOptions: [String]? = nil) throws {
        let process = try start(
            MeshProcesses.proxyName(node),
            ["proxy", "run", "--node", node.name, "--trust-domain", DemoTopology.trustDomain]
                + (identityOptions ?? self.identityOptions(of: node)) + [
                    "--run-dir", home(of: node), "--admin-listen", "\(node.address.v4)", "--drain-timeout", "2s",
                ] + (cgroup(of: node).map { ["--cgroup", $0] } ?? []), in: network[node])
        proxies.append(process)
    }

    private func identityOptions(of node: DemoTopology.Node) throws -> [String] {
        let tokenFile = try tokenFile(of: node)
        let state = try directory.makeDirectory("\(node.name)-state")
        return authorityOptions + ["--join-token-file", tokenFile, "--state-dir", state]
    }

    /// A file with a join token for the node, made if it is not there.
    func tokenFile(of node: DemoTopology.Node) throws -> String {
        let file = directory.file("\(node.name).token")
        if !TextFile.exists(file) { try TextFile.write(file, try joinToken(for: node.name) + "\n") }
        return file
    }

    /// Every enrolled pod has its listeners and its certificate.
    func waitForProxies() throws {
        for node in network.topology.nodes {
            let address = SocketAddress(node.address.v4, port: MeshProcesses.readinessPort)
            var reason = "no answer on \(address)"
            try wait(for: "the proxy of \(node.name)", proxies, because: reason) {
                let reply = try network[node].run {
                    try? HTTPProbe(address: address, path: "/healthz/ready").run(
                        over: .connect(to: address, limit: .seconds(1)))
                }
                if let reply, reply.status != 200 { reason = reply.body }
                return reply?.status == 200
            }
        }
    }

    /// By which the agent tells the node's proxy from its pods; nil on a machine that cannot, where nft goes by a mark.
    private func cgroup(of node: DemoTopology.Node) throws -> String? {
        backend == .nft
            ? try? DemoCgroups.make(node.networkNamespace) : try DemoCgroups.make(node.networkNamespace)
    }

    /// One use, for one node.
    func joinToken(for node: String) throws -> String {
        let output = try administer(["token", "create", "--node", node])
        guard let token = output.split(whereSeparator: \.isWhitespace).first else {
            throw DemoError("`culvert ca token create` printed no token")
        }
        return String(token)
    }

    /// What `culvert ca …` prints on standard output.
    func administer(_ arguments: [String], atMost limit: Duration = .seconds(10)) throws -> String {
        let name = "ca-\(arguments[0])"
        let file = directory.file("\(name)-output")
        unlink(file)
        let descriptor = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Errno(code: errno, call: "create \(file)") }
        let output = OwnedDescriptor(adopting: descriptor)
        defer { unlink(file) }
        let process = try start(
            name, ["ca"] + arguments + ["--admin-socket", adminSocket], in: nil, output: output.raw)
        guard process.waitForEnd(atMost: limit), process.succeeded else {
            process.kill()
            throw failure(
                "`culvert ca \(arguments.joined(separator: " "))` \(process.ending ?? "did not end")", process)
        }
        return try TextFile.read(file)
    }

    /// For trying a tunnel port by hand: the pod's own identity under another key.
    func writeClientCertificate(of pod: DemoTopology.Pod) throws -> ClientCertificate {
        let certificate = ClientCertificate(
            chainPath: directory.file("client.pem"), keyPath: directory.file("client.key"), bundlePath: bundle)
        let node = network.topology.node(of: pod)
        let process = try start(
            "client-certificate",
            [
                "demo-app", "certificate",
                "--ca", "\(SocketAddress(network.topology.authority.v4, port: MeshProcesses.authorityPort))",
                "--ca-bundle", bundle, "--state-dir", directory.file("\(node.name)-state"), "--pod-uid", pod.uid,
                "--id", pod.spiffeID, "--chain", certificate.chainPath, "--key", certificate.keyPath,
            ], in: network[node])
        guard process.waitForEnd(atMost: .seconds(20)), process.succeeded else {
            process.kill()
            throw failure("the client certificate could not be made: it \(process.ending ?? "did not end")", process)
        }
        return certificate
    }

    // MARK: - Records

    /// All that both proxies have logged so far.
    func accessRecords() throws -> [AccessRecord] {
        try network.topology.nodes.flatMap { node in
            AccessRecord.parse(log: try TextFile.read("\(logs)/\(MeshProcesses.proxyName(node)).log"))
        }
    }

    // MARK: - End

    /// As a crash: no chance to say good-bye.
    func killProxy(of node: DemoTopology.Node) {
        for proxy in proxies where proxy.name == MeshProcesses.proxyName(node) { proxy.kill() }
        proxies.removeAll { !$0.isRunning }
    }

    /// As a crash: what they have installed stays. `startAgents` starts them again, and waits for sockets of their own.
    func killAgents() {
        for agent in agents { agent.kill() }
        agents = []
        for node in network.topology.nodes {
            for socket in ["zds.sock", "xds.sock"] { unlink(directory.file("\(node.name)/\(socket)")) }
        }
    }

    /// In order, so that the agents find what they have to remove; what does not end in time is killed.
    func stop() {
        for group in [proxies, agents, programs, authority.map { [$0] } ?? []] {
            for process in group { process.signal(SIGTERM) }
            let end = ContinuousClock.now + MeshProcesses.stopLimit
            for process in group where !process.waitForEnd(atMost: max(.zero, end - .now)) { process.kill() }
        }
        (proxies, agents, programs, authority) = ([], [], [], nil)
    }

    /// Throws when one has ended that should not have.
    func checkAlive() throws {
        for process in culvert + programs { try checkAlive(process) }
    }

    /// The authority, the agents and the proxies.
    var culvert: [DemoProcess] { (authority.map { [$0] } ?? []) + agents + proxies }

    private static func proxyName(_ node: DemoTopology.Node) -> String { "proxy-\(node.name)" }

    private static let stopLimit = Duration.seconds(3)

    /// The last lines of what agents and proxies logged.
    var logTails: String {
        let processes = agents + proxies
        return processes.compactMap { process in process.logTail.map { "\nlast lines of \(process.name):\n\($0)\n" } }
            .joined()
    }

    // MARK: - Parts

    private var authorityOptions: [String] {
        let address = network.topology.authority.v4
        return [
            "--ca", "\(SocketAddress(address, port: MeshProcesses.authorityPort))",
            "--ca-attest", "\(SocketAddress(address, port: MeshProcesses.attestationPort))", "--ca-bundle", bundle,
        ]
    }

    private func home(of node: DemoTopology.Node) throws -> String { try directory.makeDirectory(node.name) }

    private func start(
        _ name: String, _ arguments: [String], in namespace: NetworkNamespace?, output: Int32? = nil
    ) throws -> DemoProcess {
        try Interruption.check()
        let process = try DemoProcess(
            name, executable: executable, arguments: arguments, in: namespace, logPath: "\(logs)/\(name).log",
            output: output, parent: parent)
        try directory.note(process.stamp)
        return process
    }

    private func wait(
        for what: String, _ processes: [DemoProcess], because reason: @autoclosure () -> String? = nil,
        until isReady: () throws -> Bool
    ) throws {
        let isReady = try Interruption.wait(atMost: MeshProcesses.startLimit) {
            for process in processes { try checkAlive(process) }
            return try isReady()
        }
        guard !isReady else { return }
        let why = reason().map { ": \($0)" } ?? ""
        let limit = Quantity.duration(MeshProcesses.startLimit)
        throw failure("\(what) was not ready after \(limit)\(why)", processes.first)
    }

    private func checkAlive(_ process: DemoProcess) throws {
        guard let ending = process.ending else { return }
        throw failure("\(process.name) \(ending)", process)
    }

    private func failure(_ what: String, _ process: DemoProcess?) -> DemoError {
        let log = process.flatMap { process in
            process.logTail.map { "last lines of \(process.logPath ?? process.name):\n\($0)" }
        }
        return DemoError(what, log: log)
    }
}
