public import ArgumentParser
import Glibc
import IPAddressing
import LinuxNetworking
import Logging
public import NodeAgent
import Redirection
import ServiceLifecycle
import UnixSignals

/// `culvert agent run`
struct AgentRun: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Enrols this node's pods, and tells its proxy of them and of the mesh.",
        discussion: """
            Learns of pods, namespaces and services of all nodes from the cluster, or from a mesh file, and follows their \
            changes. Pods of this node in a namespace labelled culvert.dev/mtls-enabled: "true" are enrolled: their TCP \
            connections are led into the proxy, and none leaves them in plaintext. A file with mistakes is refused with the \
            line of each; the running mesh stays. So it does while the API server is away.

            On a cluster a pod's network namespace is found by what the CNI plugin noted, or by the pod's cgroup in procfs. How \
            each pod is, the agent writes in its annotation culvert.dev/status, and on the node's Lease; Events say what is \
            wrong. `culvert status` shows it all.

            Besides, a guard on the host's end of each enrolled pod's veth drops all TCP between enrolled addresses that \
            is not the tunnel, whatever becomes of the pod's own rules, the agent and the proxy. With --guard audit it only \
            counts and logs what it would drop. It needs a kernel with eBPF and libbpf; without them the agent does not \
            start, unless told to do without the guard.

            Pods of a namespace whose mode is strict take no plaintext but the kubelet's probes, which are recognised by the \
            kubelet's cgroup: by the guard, or by rules on the node, which give them the source 169.254.7.127 \
            (--probes). Where neither works, probes of strict pods are refused.

            Needs CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF, and the nft program.

            A pod that is taken out, because its label is gone or the agent ends, makes new connections by itself at once; \
            those through the proxy have the drain timeout to end. Then nothing of Culvert is left in it.

            Ended by SIGTERM or SIGINT it takes all pods out again or leaves them enrolled (--on-exit). Ended in any other way \
            it leaves them enrolled: they stay closed rather than open, and the next agent adopts them.

            EXAMPLES
              culvert agent run --kubernetes --on-exit leave       in a DaemonSet, with NODE_NAME and POD_NAMESPACE set
              culvert agent run --kubeconfig admin.conf --node node-a
              culvert agent run --mesh mesh.yaml --node node-a
              culvert agent run --mesh mesh.yaml --node node-a --run-dir /run/culvert --on-exit leave
            """
    )

    static let standardRunDirectory = "/run/culvert"

    @Option(help: ArgumentHelp("A mesh file, instead of a cluster.", valueName: "file"))
    var mesh: String?

    @Option(
        name: [.customLong("node"), .customLong("node-name")],
        help: ArgumentHelp(
            "This node, by the name that pods have under 'node' or 'nodeName'. By default NODE_NAME.", valueName: "name"
        ))
    var nodeOption: String?

    @OptionGroup(title: "Cluster") var cluster: AgentClusterOptions

    @Option(
        help: ArgumentHelp(
            "Where health checks are answered: /healthz/live, /healthz/ready and /metrics; by default nowhere.",
            valueName: "ip:port"))
    var healthListen: String?

    @Option(help: "A directory for the proxy's sockets and for what is on record about pods.")
    var runDir = AgentRun.standardRunDirectory

    @Option(
        help: """
            What becomes of enrolled pods at the end: remove or leave. By default leave on a cluster, where another agent comes, \
            and remove with a mesh file.
            """)
    var onExit: Agent.OnExit?

    @Option(
        help: .duration(
            "What connections through the proxy are given to end when their pod is taken out; the proxy's own --drain-timeout comes first."
        ))
    var drainTimeout = ArgumentDuration(.seconds(30))

    @Option(help: "What the guard does with plaintext between enrolled addresses: enforce, audit or off.")
    var `guard` = GuardOption.enforce

    @Option(
        help: """
            How connections are captured: nft (by rules in the pod), ebpf (where they are made), or auto, which is ebpf if \
            --proxy-cgroup is given and a connection made for the purpose is captured, and nft otherwise.
            """)
    var backend = CaptureBackend.auto

    @Option(
        help: ArgumentHelp(
            """
            The cgroup of the proxy and nobody else (its --cgroup): by it the proxy's connections are known. With auto it is the \
            one that the process is in which connects to this agent, such as a container's: for ebpf; nft needs a directory, and \
            knows the proxy by a mark without one, which whoever has CAP_NET_RAW in a pod can set, too.
            """,
            valueName: "dir|auto"))
    var proxyCgroup: String?

    private static let auto = "auto"

    @Option(
        help: """
            How the kubelet's probes reach pods of strict namespaces: flow (its connections are recognised by the guard, on their \
            way to the pod), snat (rules on the node give them a source of their own), auto (flow where it works, else \
            snat), or off (they are refused as everybody's plaintext).
            """)
    var probes = ProbeOption.auto

    @Option(
        help: ArgumentHelp(
            "With snat, the source that the kubelet's connections get: a link-local IPv4 address, and a unique-local IPv6 one.",
            valueName: "v4,v6"))
    var probeSource = ProbeSource.standard

    @Option(
        help: ArgumentHelp(
            """
            The kubelet's cgroup: sockets made in it, and not below it, are the kubelet's. Found by itself where one process \
            is called kubelet, kubelite or k3s.
            """, valueName: "dir"))
    var kubeletCgroup: String?

    @Option(help: PinOption.help)
    var bpfDir: String?

    @OptionGroup var logging: LoggingOptions

    func validate() throws {
        guard !node.isEmpty else { throw ValidationError("--node names no node, and NODE_NAME is not set") }
        guard (mesh != nil) != cluster.isGiven else {
            throw ValidationError(
                "give one of --kubernetes, --kubeconfig and --mesh: where the agent learns of its pods")
        }
        if let healthListen, SocketAddress(healthListen) == nil {
            throw ValidationError("--health-listen: “\(healthListen)” is not an address such as 0.0.0.0:15022")
        }
    }

    // A mesh file has one agent for its life: nobody is there to clean up behind it.
    private var exit: Agent.OnExit { onExit ?? (mesh == nil ? .leave : .remove) }

    var node: String { nodeOption ?? EnvironmentVariable.value("NODE_NAME") ?? "" }

    func run() async throws {
        try await CommandFailure.reporting { try await serve() }
    }

    private func serve() async throws {
        logging.bootstrap()
        // A container's cgroup namespace hides where the proxy is.
        try CgroupNamespace.startInNodes()
        var logger = Logger(label: "culvert.agent")
        logger[metadataKey: "node"] = "\(node)"
        let directory = try AgentDirectory(path: runDir)
        do {
            let (capture, choice) = try makeCapture(directory.pods, logger)
            let ruled: (cgroup: NFTCgroup?, why: String) =
                capture == nil ? makeProxyCgroup(logger) : (nil, "by its cgroup")
            let podGuard = try makeGuard(logger)
            let recognition = try ProbeRecognition(
                probes, source: probeSource, podGuard: podGuard, isEBPF: capture != nil, pinDirectory: pinDirectory,
                logger: logger)
            let redirector = try KernelPodRedirector(
                stateDirectory: directory.pods, capture: capture, pinDirectory: pinDirectory,
                marker: recognition.marker, probeSource: recognition.translation?.source, proxyCgroup: ruled.cgroup,
                logger: logger)
            let parts =
                mesh == nil
                ? try cluster.parts(node: node, runDirectory: directory.path, notes: directory.notes, logger: logger)
                : nil
            let agent = Agent(
                node: node,
                source: parts?.source ?? MeshFilePodSource(path: mesh ?? "", logger: logger),
                namespaces: parts?.namespaces ?? KernelPodNamespaces(),
                redirector: podGuard.map { GuardedPodRedirector(redirector, podGuard: $0) } ?? redirector,
                handoff: try ZDSPodHandoff(socketPath: directory.zdsSocket, logger: logger) { pid in
                    capture?.obstacle(toProxy: pid) ?? ruled.cgroup?.obstacle(toProxy: pid)
                },
                publisher: DiscoveryMeshPublisher(socketPath: directory.xdsSocket, logger: logger),
                meshGuard: podGuard,
                probeExemption: recognition.choice.chosen == ProbeOption.off.rawValue ? .none : probeExemption,
                probeTranslator: recognition.translation,
                drainTimeout: drainTimeout.value,
                onExit: exit,
                report: (directory.report, report(choice, recognition, ruled.why)),
                sandboxServer: try SandboxServer(runDirectory: runDir, logger: logger),
                reporter: parts?.reporter,
                logger: logger
            )
            logger.info(
                "Agent started", metadata: ["source": "\(mesh ?? "cluster")", "directory": "\(runDir)"])
            let health = AgentHealth(
                agent, source: parts?.source,
                address: healthListen.flatMap { SocketAddress($0) }, logger)
            let group = ServiceGroup(
                services: [health, agent], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
            try await group.run()
            if exit == .remove { try capture?.removeIfUnused() }
        }
        directory.removeIfEmpty()
        logger.info("Agent ended")
    }

    private var pinDirectory: String { PinOption.directory(bpfDir, runDirectory: runDir) }

    private func report(
        _ choice: AgentReport.Choice, _ recognition: ProbeRecognition, _ proxyKnown: String
    ) -> AgentReport {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var report = AgentReport(
            pid: getpid(), node: node, startedAt: Int64(now.tv_sec), backend: choice, probesBy: recognition.choice,
            guardMode: `guard`.rawValue, pinDirectory: pinDirectory, proxyCgroup: proxyCgroup, proxyKnown: proxyKnown)
        report.probeSource = recognition.translation?.source.description
        return report
    }

    /// nil for `nft`; and why.
    private func makeCapture(
        _ stateDirectory: String, _ logger: Logger
    ) throws -> (SocketCapture?, AgentReport.Choice) {
        func chosen(_ kind: CaptureKind, _ reason: String) -> AgentReport.Choice {
            .init(chosen: kind.rawValue, asked: backend.rawValue, reason: reason)
        }
        if backend == .nft { return (nil, chosen(.nft, "asked for")) }
        do throws(RedirectionError) {
            guard let proxyCgroup else {
                throw .noCgroups("--proxy-cgroup does not say which processes are the proxy's")
            }
            let capture = try SocketCapture(
                directory: pinDirectory, proxy: proxyCgroup == Self.auto ? .connection : .cgroup(proxyCgroup))
            do throws(RedirectionError) {
                try capture.selfTest(stateDirectory: stateDirectory, pinDirectory: pinDirectory)
            } catch {
                try capture.removeIfUnused()
                throw error
            }
            logger.info("Connections are captured by eBPF")
            return (capture, chosen(.ebpf, "programs load, and a connection made for the purpose was captured"))
        } catch {
            guard backend == .auto else {
                throw CommandFailure("--backend ebpf cannot be used: \(error)", hint: "use --backend nft or auto")
            }
            logger.info("Connections are captured by nft", metadata: ["reason": "\(error)"])
            return (nil, chosen(.nft, "ebpf cannot be used: \(error)"))
        }
    }

    /// How the rules of nft know the proxy is decided once, and said.
    private func makeProxyCgroup(_ logger: Logger) -> (cgroup: NFTCgroup?, why: String) {
        do throws(RedirectionError) {
            guard let proxyCgroup, proxyCgroup != Self.auto else {
                throw .noCgroups("--proxy-cgroup names no directory")
            }
            let cgroup = try NFTCgroup(proxyCgroup)
            logger.info("Proxy is known by its cgroup", metadata: ["cgroup": "\(proxyCgroup)"])
            return (cgroup, "by its cgroup")
        } catch {
            logger.warning("Proxy is known by its mark, which can be forged", metadata: ["reason": "\(error)"])
            return (nil, "by its mark, which can be forged: \(error)")
        }
    }

    private var probeExemption: ProbeExemption { kubeletCgroup.map(ProbeExemption.cgroup) ?? .discovered }

    private func makeGuard(_ logger: Logger) throws -> PodGuard? {
        guard let mode = `guard`.mode else {
            logger.warning("Without the guard, only the pods' own rules keep plaintext in")
            return nil
        }
        do {
            return try PodGuard(directory: pinDirectory, mode: mode, host: .current())
        } catch {
            throw CommandFailure("the guard cannot be loaded: \(error)", hint: "do without it by --guard off")
        }
    }
}

extension Agent.OnExit: ExpressibleByArgument {}

/// `--backend`
enum CaptureBackend: String, CaseIterable, ExpressibleByArgument {
    case nft, ebpf, auto
}

/// `--guard`
enum GuardOption: String, CaseIterable, ExpressibleByArgument {
    case enforce, audit, off

    var mode: PodGuard.Mode? {
        switch self {
        case .enforce: .enforce
        case .audit: .audit
        case .off: nil
        }
    }
}
