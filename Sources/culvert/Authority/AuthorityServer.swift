import Authority
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import Hummingbird
import IPAddressing
import Logging
import MeshAPI
import Observability
import SPIFFE
import ServiceLifecycle

import struct NIOCore.IOError

/// The running authority: its three listeners, its maintenance, and the pods it follows. Ends orderly on graceful shutdown.
struct AuthorityServer: ServiceLifecycle.Service {
    let authority: CertificateAuthority
    let pods: any FollowingPodRegistry
    /// nil: not on Kubernetes.
    let cluster: ClusterAuthority?
    let identity: ReplaceableIdentity
    let addresses: Addresses
    /// Workloads that may administer over the network; the admin socket's users may in any case.
    let administrators: Set<SPIFFEID>
    let examiner: AuthorityExaminer
    /// The plug-in CA, and the files that were read of it.
    let plugin: (directory: PluginDirectory, files: PluginFiles)?
    /// Where the trust bundle is published for nodes that join.
    let bundleFile: String
    let federation: Federation
    /// nil: the bundle is not published over HTTPS.
    let endpoint: BundleEndpointService?
    let logger: Logger

    struct Addresses: Sendable {
        /// For attested nodes.
        var nodes: IPAddressing.SocketAddress
        /// For nodes that have a join token.
        var attestation: IPAddressing.SocketAddress
        var adminSocket: String
        /// For health checks and metrics; nil: nowhere.
        var health: IPAddressing.SocketAddress?
    }

    func run() async throws {
        let attestation = try AuthorityTransport.attestation(at: addresses.attestation, identity: identity)
        let nodes = try AuthorityTransport.authority(
            at: addresses.nodes, identity: identity, trustDomain: authority.trustDomain,
            grace: authority.configuration.nodeGrace,
            verifier: { [authority] in PeerVerifier(bundles: TrustBundleSet([authority.bundle.current])) },
            logger: logger)
        let administration: [any RegistrableRPCService] = [
            AuthorityAdminService(authority: authority) { federation.statuses },
            AuthorityOperatorService(authority: authority, examiner: examiner),
            NodeAdminService(authority: authority),
        ]
        let servers = [
            (
                GRPCServer(
                    transport: attestation,
                    services: [
                        NodeAttestationService(authority: authority),
                        IstioCertificateService(
                            authority: authority, authenticator: TokenNodeAuthenticator(authority: authority)),
                    ]), addresses.attestation
            ),
            (
                GRPCServer(
                    transport: nodes,
                    services: [
                        AuthorityService(authority: authority),
                        IstioCertificateService(authority: authority, authenticator: CertificateNodeAuthenticator()),
                    ] + (administrators.isEmpty ? [] : administration),
                    interceptorPipeline: [
                        .apply(
                            AdminAuthorization(admitted: administrators), to: .services(AdminAuthorization.services))
                    ]), addresses.nodes
            ),
        ]
        // Waits for addresses that a server which is ended before it began never has: nobody waits for it.
        let announcement = Task { try await announce(attestation, nodes) }
        defer { announcement.cancel() }
        try await withGracefulShutdownHandler {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (server, address) in servers {
                    group.addTask { try await serve(server, at: address) }
                }
                group.addTask {
                    do {
                        try await cancelWhenGracefulShutdown {
                            try await AuthorityTransport.serve(
                                administration, unixSocket: addresses.adminSocket, logger: logger)
                        }
                    } catch  where Task.isShuttingDownGracefully {
                        // Ended as it was told to.
                    }
                }
                if let address = addresses.health { group.addTask { try await serveHealth(at: address) } }
                group.addTask { await cancelWhenGracefulShutdown { await pods.run() } }
                if let cluster, let bundles = try? authority.bundle.updates() {
                    group.addTask { await cancelWhenGracefulShutdown { await cluster.run(bundles: bundles) } }
                }
                group.addTask { await cancelWhenGracefulShutdown { await federation.run() } }
                if let endpoint {
                    group.addTask { try await cancelWhenGracefulShutdown { try await endpoint.run() } }
                }
                group.addTask { await cancelWhenGracefulShutdown { await maintain() } }
                group.addTask { await cancelWhenGracefulShutdown { await keepUp() } }
                group.addTask { await cancelWhenGracefulShutdown { await renewIdentity() } }
                group.addTask { await cancelWhenGracefulShutdown { await followAuthorities() } }
                if plugin != nil { group.addTask { await cancelWhenGracefulShutdown { await followPlugin() } } }
                // The first failure ends the others.
                while try await group.next() != nil {}
            }
        } onGracefulShutdown: {
            // Bundle streams never end by themselves, and a server waits for its streams.
            authority.bundle.finish()
            for (server, _) in servers { server.beginGracefulShutdown() }
        }
    }

    private func serve(
        _ server: GRPCServer<HTTP2ServerTransport.Posix>, at address: IPAddressing.SocketAddress
    ) async throws {
        do {
            try await server.serve()
        } catch let error as RuntimeError where error.code == .serverIsStopped && Task.isShuttingDownGracefully {
            // It was told to end before it began.
        } catch let error as RuntimeError where error.code == .transportError {
            throw CommandFailure(
                "cannot serve on \(address): \(error.cause.map { "\($0)" } ?? error.message)",
                hint: "is another process listening there, or is the address not this machine's?")
        }
    }

    private func serveHealth(at address: IPAddressing.SocketAddress) async throws {
        let health = AuthorityHealth(authority)
        let server = ObservabilityServer.all(
            obstacle: { [pods] in
                if let obstacle = pods.obstacle { obstacle } else { await health.obstacle }
            },
            metrics: { [authority, pods] in
                let isReady = if pods.obstacle == nil { await health.obstacle == nil } else { false }
                return AuthorityMetrics.page(authority.status(), authority.counts, isReady: isReady, now: Date())
            }, host: "\(address.ip)", port: Int(address.port), logger: logger)
        do {
            try await server.run()
        } catch let error as IOError {
            throw CommandFailure(
                "cannot serve health checks on \(address): \(String(cString: strerror(error.errnoCode)))",
                hint: "is another process listening there, or is the address not this machine's?")
        }
    }

    private func announce(_ transports: HTTP2ServerTransport.Posix...) async throws {
        // Each fails with its server, whose own error says more.
        for transport in transports { guard (try? await transport.listeningAddress) != nil else { return } }
        logger.info(
            "Authority serving",
            metadata: [
                "trustDomain": "\(authority.trustDomain)", "nodes": "\(addresses.nodes)",
                "attestation": "\(addresses.attestation)", "admin": "\(addresses.adminSocket)",
                "bundleSequence": "\(authority.bundle.current.sequence)",
            ])
    }

    private func maintain() async {
        await authority.keepMaintained { error in
            guard !isOutage(error) else { return }
            logger.error("Maintenance failed, it will be tried again", metadata: ["reason": "\(error)"])
        }
    }

    private func keepUp() async {
        await authority.keepUp { error in
            guard !isOutage(error) else { return }
            logger.error("What other authorities have changed cannot be taken over", metadata: ["reason": "\(error)"])
        }
    }

    /// The store has a line for its beginning and one for its end: enough said.
    private func isOutage(_ error: AuthorityError) -> Bool {
        if case .store(.unavailable) = error { true } else { false }
    }

    /// Publishes each bundle, and replaces the SVID that this authority serves under when what it was signed by is to go.
    private func followAuthorities() async {
        guard let updates = try? authority.bundle.updates() else { return }
        for await bundle in updates {
            await untilDone("The trust bundle was not published") {
                try PublishedFile.write(bundle.pem(), to: bundleFile, mode: 0o644)
            }
            guard !authority.bundle.tainted.isEmpty else { continue }
            await untilDone("The authority's own SVID was not replaced") {
                try identity.replace(with: try await authority.servingIdentity())
            }
        }
    }

    /// Hands over each set of files that is put in place of the one before.
    private func followPlugin() async {
        guard let plugin else { return }
        await PluginWatcher(plugin.directory).run(after: plugin.files) { result in
            switch result {
            case .failure(let flaw): authority.pluginRefused(flaw)
            case .success(let files):
                do {
                    try await authority.replacePlugin(with: files)
                } catch is PluginFlaw {
                    // The audit trail has it.
                } catch {
                    logger.error(
                        "The plug-in CA was not put in force, it will be tried again", metadata: ["reason": "\(error)"])
                }
            }
        }
    }

    private func untilDone(_ failure: String, _ body: () async throws -> Void) async {
        while !Task.isCancelled {
            do {
                return try await body()
            } catch {
                logger.error("\(failure), it will be tried again", metadata: ["reason": "\(error)"])
                try? await Task.sleep(for: .seconds(2))
            }
        }
    }

    /// Replaces the SVID that this authority serves under at half of its life; a failure is tried again soon.
    private func renewIdentity() async {
        let half = authority.configuration.lifetimes.leaf / 2
        var pause = half
        while (try? await Task.sleep(for: pause)) != nil {
            do {
                try identity.replace(with: try await authority.servingIdentity())
                pause = half
            } catch {
                logger.error("The authority's own SVID was not renewed", metadata: ["reason": "\(error)"])
                pause = min(half, .seconds(10))
            }
        }
    }
}
