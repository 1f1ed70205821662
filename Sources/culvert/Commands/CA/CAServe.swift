import ArgumentParser
import Authority
import FoundationEssentials
import Glibc
import IPAddressing
import LinuxNetworking
import Logging
import MeshAPI
import MeshFile
import PostgreSQL
import SPIFFE
import ServiceLifecycle
import UnixSignals

/// `culvert ca serve`
struct CAServe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Runs the authority.",
        discussion: """
            At the first start it makes a root and an intermediate, and keeps them in DIR/authority.sqlite, sealed with \
            the key in DIR/authority.key. Back up both together; a restart keeps everything. Nodes verify the authority \
            with DIR/bundle.pem, which holds no secret: copy it to them.

            A node attests once with a join token and gets an identity of its own; then it gets the identities of the pods \
            that the mesh file places on it, and no others.

            With --kubernetes the API server says which pods run where, and it takes no join tokens: a proxy shows the projected \
            token of its service account (audience culvert-ca), which names its pod and node. docs/kubernetes-rbac.md lists \
            the rights that this needs.

            Several authorities may serve one trust domain on one PostgreSQL database, each with a --data directory that has \
            the same authority.key. All of them sign; one at a time renews intermediates and rotates roots, and when it \
            ends another goes on. Over TCP the database has to prove its name (sslmode=verify-full) unless the URL says \
            otherwise. Its password is taken from --store-password-file, PGPASSWORD or PGPASSFILE rather than from the \
            URL, which every process on the machine can read.

            Istio's CreateCertificate is served on both addresses, so that a ztunnel can take identities from here: on \
            --attest-listen its bearer token is a join token, on --listen the node's certificate counts. Give the name by \
            which it calls the authority with --serving-name.

            With --ca-dir an intermediate of yours signs instead: ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem, \
            or tls.crt, tls.key and ca.crt, and perhaps ca-crl.pem. They are taken whole or refused whole, and taken anew when \
            they change. One under a new root signs once every live node has that root. certs/plugin-intermediate makes them.

            EXAMPLES
              culvert ca serve --data /var/lib/culvert --mesh mesh.yaml
              culvert ca serve --data ca --trust-domain example.org --mesh mesh.yaml --listen 10.0.0.1:15012 \\
                --attest-listen 10.0.0.1:15011
              culvert ca serve --kubernetes --data /var/lib/culvert --trust-domain example.org
              culvert ca serve --kubernetes --data /var/lib/culvert --trust-domain example.org --check
              culvert ca serve --data ca --mesh mesh.yaml --ca-dir /etc/cacerts
              culvert ca serve --data ca --mesh mesh.yaml --leaf-ttl 10m --intermediate-ttl 24h
              culvert ca serve --data ca --mesh mesh.yaml --store-password-file db.password \\
                --store 'postgresql://culvert@db.example/culvert?sslrootcert=/etc/ssl/certs/ca-certificates.crt'
              culvert ca serve --data ca --mesh mesh.yaml --federation-listen 0.0.0.0:8443 \\
                --federate partner.example=https://bundle.partner.example/ \\
                --federate east.example=https://10.1.0.1:8443/,id=spiffe://east.example/culvert/authority,bundle=east.pem

            EXIT STATUS
              0   ended as told (SIGTERM, SIGINT); with --check nothing is wrong
              1   could not start, or could not go on
              64  wrong usage
              78  --check has found something
            """
    )

    @Option(help: ArgumentHelp("Where the authority's keys and records are kept; made if missing.", valueName: "dir"))
    var data: String

    @OptionGroup var storing: StoreOptions

    @Option(
        help: ArgumentHelp("The files of a plug-in CA, instead of a root made at the first start.", valueName: "dir"))
    var caDir: String?

    @Option(
        help: ArgumentHelp("The plug-in CA's revocation lists; by default ca-crl.pem in --ca-dir.", valueName: "file"))
    var crl: String?

    @Option(help: "The trust domain; must be the mesh file's, which is the default.")
    var trustDomain: String?

    @Option(help: ArgumentHelp("The mesh file: which pods exist, and on which nodes.", valueName: "file"))
    var mesh: String?

    @OptionGroup(title: "Kubernetes") var cluster: ClusterOptions

    @Option(help: ArgumentHelp("Where attested nodes connect.", valueName: "ip:port"))
    var listen = "0.0.0.0:15012"

    @Option(help: ArgumentHelp("Where nodes with a join token connect.", valueName: "ip:port"))
    var attestListen = "0.0.0.0:15011"

    @Option(
        help: ArgumentHelp(
            "A host name or address to be in the authority's own certificate, for clients of Istio's protocol; repeatable.",
            valueName: "name"))
    var servingName: [String] = []

    @Option(help: ArgumentHelp("The Unix socket for the other commands of `culvert ca`.", valueName: "path"))
    var adminSocket = AdminSocket.defaultPath

    @Option(
        help: ArgumentHelp(
            "A workload that may do over --listen what the users of the admin socket may: whoever holds its SVID; nobody unless given; repeatable.",
            valueName: "SPIFFE-ID"))
    var adminID: [String] = []

    @Option(
        help: ArgumentHelp(
            "Where /healthz/live, /healthz/ready and /metrics are served over HTTP; nowhere unless given.",
            valueName: "ip:port"))
    var healthListen: String?

    @Option(help: .duration("How long an SVID lives: at most a sixth of its issuer's life."))
    var leafTTL = ArgumentDuration(.seconds(3600))

    @Option(help: .duration("How long an intermediate lives; it is replaced at half of that."))
    var intermediateTTL = ArgumentDuration(.seconds(7 * 86400))

    @Option(help: .duration("How long a root lives that is made at the first start."))
    var rootTTL = ArgumentDuration(.seconds(365 * 86400))

    @Option(
        help: ArgumentHelp(
            "How long after its end a node's SVID is renewed, so that nodes come back by themselves after an outage: a number with s, m, h or d, or off.",
            valueName: "duration|off"))
    var nodeGrace = NodeGrace(.seconds(7 * 86400))

    @Option(
        help: .duration(
            "How long a connection may outlive the leaf it was opened with: replaced roots are kept that much longer."))
    var connectionAge = ArgumentDuration(.seconds(3600))

    @Option(help: .duration("How far apart clocks may be: kept that much longer, too."))
    var clockSkew = ArgumentDuration(.seconds(120))

    @Option(
        help: .duration(
            "How long an emergency rotation waits for nodes to learn the new root before that signs; who is late is cut off."
        ))
    var emergencyActivation = ArgumentDuration(.seconds(60))

    @Option(
        help: .duration(
            "How long it waits for nodes to let go of the old root before that is revoked; who is late is cut off."))
    var emergencyRevocation = ArgumentDuration(.seconds(900))

    @Flag(
        help: """
            Only check all options and files, as they would be at the start, and say everything that is wrong; serve nothing and \
            change nothing. Exit status 0, or 78. A --store is connected to and read; with --kubernetes the API server is asked for each \
            right that is needed.
            """)
    var check = false

    @Option(
        help: ArgumentHelp(
            """
            Believe the workloads of another trust domain, by the bundle that it publishes at this URL: \
            DOMAIN=URL[,roots=FILE] where the server shows a certificate of the Web's PKI (roots: of a private one), \
            DOMAIN=URL,id=SPIFFE-ID,bundle=FILE where it shows its SVID (bundle: to recognise it the first time). Repeatable.
            """, valueName: "domain=url"))
    var federate: [String] = []

    @Option(
        help: ArgumentHelp(
            "Where the trust bundle is published over HTTPS for other trust domains; nowhere by default.",
            valueName: "ip:port"))
    var federationListen: String?

    @Option(
        help: ArgumentHelp(
            "The certificates shown there, leaf first; by default the authority's own SVID is.", valueName: "file"))
    var federationCert: String?

    @Option(help: ArgumentHelp("Their key.", valueName: "file"))
    var federationKey: String?

    @OptionGroup var logging: LoggingOptions

    func validate() throws {
        guard (federationCert == nil) == (federationKey == nil) else {
            throw ValidationError("--federation-cert and --federation-key belong together")
        }
        guard federationCert == nil || federationListen != nil else {
            throw ValidationError("--federation-cert is for --federation-listen")
        }
        guard (mesh == nil) == cluster.kubernetes else {
            throw ValidationError(
                "give --mesh or --kubernetes, one of them: which pods there are decides who gets which identity")
        }
        guard !cluster.kubernetes || trustDomain != nil else {
            throw ValidationError("--kubernetes needs --trust-domain: no mesh file says it")
        }
        guard crl == nil || caDir != nil else { throw ValidationError("--crl goes with --ca-dir") }
        guard caDir == nil || storing.store == nil else {
            throw ValidationError(
                """
                --ca-dir does not go with --store: replicas get new files at different times, and would publish different bundles \
                under one number. Run one authority with --ca-dir and its own --data directory, or several with --store and a root \
                that they make (docs/replicas.md)
                """)
        }
    }

    func run() async throws {
        if check { return try await reportProblems() }
        logging.bootstrap()
        try await CommandFailure.reporting {
            let logger = Logger(label: "culvert.ca")
            // A connection for each node.
            DescriptorLimit.raise()
            let server = try await server(logger: logger)
            var configuration = ServiceGroupConfiguration(
                services: [.init(service: server)], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
            configuration.maximumGracefulShutdownDuration = .seconds(10)
            // What does not end then never will: the process does.
            configuration.maximumCancellationDuration = .seconds(5)
            try await ServiceGroup(configuration: configuration).run()
            unlink(adminSocket)
            logger.info("Authority ended")
        }
    }

    private func server(logger: Logger) async throws -> AuthorityServer {
        let addresses = AuthorityServer.Addresses(
            nodes: try address(listen, "--listen"), attestation: try address(attestListen, "--attest-listen"),
            adminSocket: adminSocket, health: try healthListen.map { try address($0, "--health-listen") })
        let domain = try domain()
        let administrators = Set(
            try adminID.map { text throws(CommandFailure) in try AdminAuthorization.id(text, of: domain) })
        try makeDirectory(data, "--data")
        let parent = adminSocket.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
            separator: "/")
        if !parent.isEmpty { try makeDirectory(parent, "--admin-socket") }
        try AdminSocket.clear(adminSocket)
        let cluster = try clusterAuthority(logger: logger)
        let pods: any FollowingPodRegistry = try cluster?.pods ?? meshPods(logger: logger)
        let plugin = try plugin()
        let authority = try await opened(domain, pods: pods, cluster: cluster, plugin: plugin?.files, logger: logger)
        let feed = authority.bundle
        let federation = try Federation(
            federate.map { argument throws(CommandFailure) in try FederationRelationship(argument) }, of: domain,
            file: FederatedBundleFile(directory: data), logger: logger
        ) { feed.publish(federated: $0) }
        for warning in authority.status().warnings { logger.warning("\(warning)") }
        do {
            let bundleFile = "\(data)/bundle.pem"
            try PublishedFile.write(authority.bundle.current.pem(), to: bundleFile, mode: 0o644)
            let identity = try ReplaceableIdentity(try await authority.servingIdentity())
            return AuthorityServer(
                authority: authority, pods: pods, cluster: cluster, identity: identity, addresses: addresses,
                administrators: administrators,
                examiner: AuthorityExaminer(authority: authority, dataDirectory: data, adminSocket: adminSocket),
                plugin: plugin, bundleFile: bundleFile, federation: federation,
                endpoint: try endpoint(authority, identity, logger: logger), logger: logger)
        } catch {
            throw CommandFailure("\(error)")
        }
    }

    var lifetimes: AuthorityLifetimes {
        AuthorityLifetimes(root: rootTTL.value, intermediate: intermediateTTL.value, leaf: leafTTL.value)
    }

    private func opened(
        _ domain: TrustDomain, pods: any FollowingPodRegistry, cluster: ClusterAuthority?, plugin: PluginFiles?,
        logger: Logger
    ) async throws -> CertificateAuthority {
        let audit = AuthorityAuditLog(logger: Logger(label: "culvert.ca.audit"))
        do {
            let home = try await home(logger: logger)
            var rotation = RotationPolicy(leaf: lifetimes.leaf, connectionAge: connectionAge.value)
            rotation.skew = clockSkew.value
            rotation.emergencyActivation = emergencyActivation.value
            rotation.emergencyRevocation = emergencyRevocation.value
            var configuration = CertificateAuthority.Configuration(
                trustDomain: domain, lifetimes: lifetimes, nodeGrace: nodeGrace.value, rotation: rotation)
            configuration.plugin = plugin
            configuration.servingNames = try servingName.map(Self.name)
            configuration.nodeTokens = cluster?.attestor
            return try await CertificateAuthority.open(
                configuration, store: home.store, seal: home.seal, pods: pods,
                audit: { event in
                    audit.record(event)
                    cluster?.tell(event)
                })
        } catch let error as SealingKeyFileError {
            throw CommandFailure("\(error)", hint: error.hint)
        } catch let error as StoreError {
            throw CommandFailure("\(error)", hint: error.hint)
        } catch let error as AuthorityError {
            throw CommandFailure("\(error)", hint: error.hint)
        }
    }

    private func plugin() throws -> (directory: PluginDirectory, files: PluginFiles)? {
        guard let caDir else { return nil }
        let directory = PluginDirectory(path: caDir, revocations: crl)
        do {
            return (directory, try directory.read())
        } catch {
            throw CommandFailure("--ca-dir \(caDir): \(error)", hint: error.hint)
        }
    }

    private func home(logger: Logger) async throws -> AuthorityDirectory {
        guard let address = try storing.address() else {
            return try AuthorityDirectory(path: data)
        }
        if address.hasPasswordInURL {
            logger.warning("The database's password is among this process's arguments, where others can read it")
        }
        let store = try await PostgreSQLAuthorityStore.open(address) { availability in
            switch availability {
            case .unavailable(let reason):
                logger.error(
                    "The database cannot be used: nothing is issued until it can, and what was issued stays good",
                    metadata: ["store": "\(address)", "reason": "\(reason)"])
            case .available: logger.notice("The database can be used again", metadata: ["store": "\(address)"])
            }
        }
        return try await AuthorityDirectory(path: data, sharing: store)
    }

    /// As RFC 6125 names a server.
    static func name(_ text: String) throws(CommandFailure) -> ServingName {
        if let address = IPAddress(text) { return .address(address.bytes) }
        guard HostPort.isName(text) else {
            throw CommandFailure("--serving-name: “\(text)” is no host name and no address")
        }
        return .dns(text)
    }

    func endpoint(
        _ authority: CertificateAuthority, _ identity: ReplaceableIdentity, logger: Logger
    ) throws(CommandFailure) -> BundleEndpointService? {
        guard let federationListen else { return nil }
        var files: BundleEndpointService.CertificateFiles?
        if let federationCert, let federationKey { files = .init(certificate: federationCert, key: federationKey) }
        return BundleEndpointService(
            settings: .init(address: try address(federationListen, "--federation-listen"), certificate: files),
            authority: authority, identity: identity, logger: logger)
    }

    func address(_ text: String, _ option: String) throws(CommandFailure) -> IPAddressing.SocketAddress {
        guard let address = IPAddressing.SocketAddress(text) else {
            throw CommandFailure(
                "\(option): “\(text)” is not an address", hint: "write it as 10.0.0.1:15012 or [fd00::1]:15012")
        }
        return address
    }

    /// Of mode 0700 if it is made here; the parent has to exist.
    private func makeDirectory(_ path: String, _ option: String) throws(CommandFailure) {
        guard mkdir(path, 0o700) != 0, errno != EEXIST else { return }
        throw CommandFailure(
            "cannot make the directory \(path): \(String(cString: strerror(errno)))",
            hint: "make it for the user that runs the authority, or name another with \(option)")
    }
}

/// `7d`, or `off`.
struct NodeGrace: ExpressibleByArgument, Sendable, Equatable {
    let value: Duration

    init(_ value: Duration) { self.value = value }

    init?(argument: String) {
        if argument == "off" {
            value = .zero
        } else if let duration = ArgumentDuration(argument: argument) {
            value = duration.value
        } else {
            return nil
        }
    }

    var defaultValueDescription: String { value.inWords }
}
