import ArgumentParser
import HBONE
import IPAddressing
import LinuxNetworking
import Logging
import MeshAPI
import SPIFFE
import ServiceLifecycle
import UnixSignals

/// `culvert proxy run`
struct ProxyRun: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Carries the connections of this node's enrolled pods.",
        discussion: """
            Learns pods and the mesh from the agent's sockets in the run directory, and takes identities from the \
            authority: the first time with a join token, from then on with the node's own certificate, which is kept in \
            the state directory. Keys of workloads are made in memory and never written.

            Needs CAP_NET_ADMIN and CAP_SYS_ADMIN.

            Ended by SIGTERM it accepts nothing new, and gives connections the drain timeout to end.

            To upgrade, start the new version beside the old one with the same run directory: it takes over the listening \
            sockets, so that no connection is refused. When its log says Ready, end the old one by SIGTERM; until then the old \
            one carries on what it has, and serves again should the new one die.

            EXAMPLES
              culvert proxy run --node node-a --trust-domain example.org --ca 10.0.0.1:15012 \\
                --ca-attest 10.0.0.1:15011 --ca-bundle bundle.pem --join-token-file token
              culvert proxy run --node node-a --trust-domain cluster.local --ca istiod.istio-system.svc:15012 \\
                --ca-protocol istio --ca-bundle root-cert.pem --ca-token-file /var/run/secrets/tokens/istio-token
              curl http://127.0.0.1:15021/healthz/ready      what it still waits for, and why
            """
    )

    @Option(help: "This node, by the name that the mesh and the join token know it by.")
    var node: String

    @Option(help: "The trust domain of this node's pods.")
    var trustDomain: String

    @Option(
        help: ArgumentHelp(
            "Another name of the trust domain, for a mesh that was renamed; repeatable.", valueName: "domain"))
    var trustDomainAlias: [String] = []

    @Option(help: "The directory of the agent's sockets.")
    var runDir = "/run/culvert"

    @Option(
        help: ArgumentHelp(
            "Where the authority serves attested nodes; with --ca-protocol istio also by name.", valueName: "ip:port"))
    var ca: String

    @Option(
        help: """
            How the authority is spoken to: culvert, or istio, the CreateCertificate of istiod: then the node shows the token of \
            --ca-token-file, and peers are verified by the roots that come with the certificates and those of --ca-bundle.
            """)
    var caProtocol = CAProtocol.culvert

    @Option(
        help: ArgumentHelp(
            "For istio: the bearer token, read at every call, so that it may be replaced.", valueName: "file"))
    var caTokenFile: String?

    @Option(
        help: ArgumentHelp(
            "For istio: the name in the authority's certificate; by default the host of --ca.", valueName: "name"))
    var caServerName: String?

    @Option(
        help: ArgumentHelp("For istio: the cluster that this node is of, as the authority knows it.", valueName: "id"))
    var clusterID: String?

    @Option(
        help: ArgumentHelp("Where the authority attests nodes; by default port 15011 of --ca.", valueName: "ip:port"))
    var caAttest: String?

    @Option(help: ArgumentHelp("The authority's bundle.pem: by it the authority is recognised.", valueName: "file"))
    var caBundle: String

    @Option(help: ArgumentHelp("A join token, needed until the node has attested.", valueName: "file"))
    var joinTokenFile: String?

    @Option(
        help: ArgumentHelp(
            "On Kubernetes, in place of a join token: the projected token of this pod's service account, for the audience culvert-ca.",
            valueName: "file"))
    var kubernetesTokenFile: String?

    @Option(help: ArgumentHelp("Where the node's own certificate and key are kept.", valueName: "dir"))
    var stateDir = "/var/lib/culvert/proxy"

    @Option(help: ArgumentHelp("Where readiness (15021) and metrics (15020) are served.", valueName: "ip"))
    var adminListen = "0.0.0.0"

    @Option(
        help: """
            Event loops, one thread each: by default one for each core that it may use, and four at most, since each listens in \
            every pod.
            """)
    var workers: Int?

    @Option(
        help: """
            Who protects the bytes after the TLS handshake: own (Culvert's record layer, with libipsec-mb where it is installed and \
            the CPU has VAES), portable (the same with OpenSSL's ciphers alone) or libssl.
            """)
    var tlsRecords = TLSRecordsChoice.own

    @Option(help: PinOption.help)
    var bpfDir: String?

    @Option(
        help: ArgumentHelp(
            """
            A cgroup that the proxy moves into, made if it is not there: a directory of the unified hierarchy, of this proxy \
            alone. An agent with --backend ebpf knows the proxy by it.
            """, valueName: "dir"))
    var cgroup: String?

    @Option(help: .duration("What connections are given to end by themselves after SIGTERM."))
    var drainTimeout = ArgumentDuration(.seconds(25))

    @OptionGroup var logging: LoggingOptions

    func validate() throws {
        guard workers.map((1...256).contains) ?? true else {
            throw ValidationError("--workers is a number from 1 to 256")
        }
        switch caProtocol {
        case .culvert where caTokenFile != nil || caServerName != nil || clusterID != nil:
            throw ValidationError("--ca-token-file, --ca-server-name and --cluster-id are for --ca-protocol istio")
        case .istio where caAttest != nil || joinTokenFile != nil || kubernetesTokenFile != nil:
            throw ValidationError(
                """
                --ca-attest, --join-token-file and --kubernetes-token-file are for --ca-protocol culvert; see --ca-token-file
                """)
        case .culvert where joinTokenFile != nil && kubernetesTokenFile != nil:
            throw ValidationError("give --join-token-file or --kubernetes-token-file, not both")
        default: break
        }
        guard !node.isEmpty else { throw ValidationError("--node names no node") }
    }

    func run() async throws {
        logging.bootstrap()
        try await CommandFailure.reporting {
            var logger = Logger(label: "culvert.proxy")
            logger[metadataKey: "node"] = "\(node)"
            if let cgroup { try ProxyCgroup.join(cgroup) }
            let settings = try settings()
            let predecessor = try await predecessor(settings, logger)
            let proxy = try ProxyNode(settings: settings, predecessor: predecessor, logger: logger)
            var configuration = ServiceGroupConfiguration(
                services: [.init(service: proxy)], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
            configuration.maximumGracefulShutdownDuration = drainTimeout.value + .seconds(5)
            // What does not end then never will: the process does.
            configuration.maximumCancellationDuration = .seconds(5)
            try await ServiceGroup(configuration: configuration).run()
            logger.info("Proxy ended")
        }
    }

    private func predecessor(_ settings: ProxyNode.Settings, _ logger: Logger) async throws -> Predecessor? {
        do {
            let predecessor = try await Predecessor.find(at: settings.handoverPath)
            if predecessor != nil { logger.info("Taking over from the proxy that runs") }
            return predecessor
        } catch {
            throw CommandFailure("cannot take over at \(settings.handoverPath): \(error)")
        }
    }

    private func settings() throws -> ProxyNode.Settings {
        let domain: TrustDomain
        do { domain = try TrustDomain(trustDomain) } catch { throw CommandFailure("--trust-domain: \(error)") }
        let aliases = try trustDomainAlias.map { name in
            do { return try TrustDomain(name) } catch {
                throw CommandFailure("--trust-domain-alias: \(name): \(error)")
            }
        }
        return ProxyNode.Settings(
            node: node, trustDomain: domain, aliases: TrustDomainAliases(aliases, of: domain), runDirectory: runDir,
            pinDirectory: PinOption.directory(bpfDir, runDirectory: runDir),
            identities: try caProtocol == .culvert ? .culvert(authority(domain)) : .istio(istio(domain)),
            adminHost: adminListen,
            workers: workers ?? min(SystemThread.usableCores, 4), drainTimeout: drainTimeout.value,
            tlsRecords: tlsRecords.records, logging: logging)
    }

    private func authority(_ domain: TrustDomain) throws -> AuthoritySession.Settings {
        let authority = try address(ca, "--ca")
        let attestation =
            try caAttest.map { try address($0, "--ca-attest") }
            ?? SocketAddress(authority.ip, port: AuthorityPort.attestation)
        return AuthoritySession.Settings(
            node: node, trustDomain: domain, authority: authority, attestation: attestation,
            bundle: try bundle(of: domain), bundleFile: caBundle, joinTokenFile: joinTokenFile,
            stateDirectory: stateDir,
            kubernetesTokenFile: kubernetesTokenFile
        )
    }

    private func istio(_ domain: TrustDomain) throws -> IstioSession.Settings {
        guard let server = HostPort(ca) else {
            throw CommandFailure(
                "--ca: '\(ca)' is no address", hint: "write istiod.istio-system.svc:15012 or 10.0.0.1:15012")
        }
        // Read again later: here only for the error that says what to do.
        _ = try bundle(of: domain)
        return IstioSession.Settings(
            trustDomain: domain, server: server, serverName: caServerName, clusterID: clusterID,
            tokenFile: caTokenFile, rootsFile: caBundle)
    }

    private func address(_ text: String, _ option: String) throws -> SocketAddress {
        guard let address = SocketAddress(text) else {
            throw CommandFailure("\(option): '\(text)' is no address", hint: "write 10.0.0.1:15012 or [fd00::1]:15012")
        }
        return address
    }

    private func bundle(of domain: TrustDomain) throws -> TrustBundle {
        let text: String
        do {
            text = try TextFile.read(caBundle)
        } catch {
            throw CommandFailure(
                "--ca-bundle: \(error)", hint: "copy bundle.pem from the authority's data directory; it holds no secret"
            )
        }
        do {
            return try TrustBundle(trustDomain: domain, pem: text)
        } catch {
            throw CommandFailure("--ca-bundle: \(caBundle): \(error)")
        }
    }
}

/// The authority's default ports.
enum AuthorityPort {
    static let attestation: UInt16 = 15011
}

enum CAProtocol: String, CaseIterable, ExpressibleByArgument {
    case culvert
    case istio
}

enum TLSRecordsChoice: String, CaseIterable, ExpressibleByArgument {
    case own
    case portable
    case libssl

    var records: TLSRecords {
        switch self {
        case .own: .own(vectorAES: true)
        case .portable: .own(vectorAES: false)
        case .libssl: .libssl
        }
    }
}
