import Dataplane
import FoundationEssentials
import Glibc
import HBONE
import Hummingbird
import IPAddressing
import LinuxNetworking
import Logging
import MeshAPI
import MeshState
import NodeAgent
import Observability
import Redirection
import SPIFFE
import ServiceLifecycle
import Synchronization
import WorkloadIdentity

import struct NIOCore.IOError

/// `culvert proxy run`, put together: agent and authority on one side, the data plane on the other.
struct ProxyNode: ServiceLifecycle.Service {
    struct Settings: Sendable {
        let node: String
        let trustDomain: TrustDomain
        let aliases: TrustDomainAliases
        let runDirectory: String
        let pinDirectory: String
        var handoverPath: String { "\(runDirectory)/handover.sock" }
        var certificatesPath: String { "\(runDirectory)/certificates.sock" }
        let identities: Identities
        let adminHost: String
        let workers: Int
        let drainTimeout: Duration
        let tlsRecords: TLSRecords
        let logging: LoggingOptions
    }

    /// Who gives this node its identities.
    enum Identities: Sendable {
        case culvert(AuthoritySession.Settings)
        case istio(IstioSession.Settings)
    }

    /// What readiness waits for.
    enum Condition {
        static let authority = "authority"
        static let mesh = "mesh"
        static let pods = "pods"
        static let identities = "identities"
        static let all = [authority, mesh, pods, identities]
    }

    /// The agent waits for the answer about each pod.
    private static let inheritanceTimeout = Duration.seconds(5)
    private static let statusInterval = Duration.milliseconds(250)
    private static let textInterval = Duration.seconds(5)

    private let settings: Settings
    private let logger: Logger
    private let dataplane: Dataplane
    private let accessLog: AccessLog
    private let counters = Counters()
    private let leaves = LeafRegister()
    private let readiness = Readiness(conditions: Condition.all)
    private let source: any IdentitySource
    private let identities: SVIDManager
    private let mesh: WorkloadDiscoveryClient
    private let pods: ZDSClient
    private let predecessor: Predecessor?

    /// `predecessor` is the proxy that serves the node until this one can.
    init(settings: Settings, predecessor: Predecessor?, logger: Logger) throws {
        self.settings = settings
        self.predecessor = predecessor
        self.logger = logger
        let accessLog = AccessLog(counters: counters, format: settings.logging.format, level: settings.logging.level)
        self.accessLog = accessLog
        // Before the data plane looks how many it may use.
        DescriptorLimit.raise()
        var configuration = DataplaneConfiguration(trustDomain: settings.trustDomain, node: settings.node)
        configuration.trustDomainAliases = settings.aliases
        configuration.loops = settings.workers
        configuration.tlsRecords = settings.tlsRecords
        let pins = settings.pinDirectory
        configuration.listenerMap = { SocketCapture.listenerMap(ofPod: $0, directory: pins) }
        let questions = MeshQuestions()
        configuration.lookUp = { questions.lookUp($0, $1) }
        let dataplane = try Dataplane(configuration: configuration, record: accessLog.sink)
        self.dataplane = dataplane
        let leaves = leaves
        let publish: @Sendable (TrustBundleSet) -> Void = { bundles in
            Self.attempt("The trust bundle cannot be used", logger) { try dataplane.publish(bundles) }
        }
        let source: any IdentitySource =
            switch settings.identities {
            case .culvert(let settings):
                AuthoritySession(
                    settings: settings, leaves: leaves, readiness: readiness, logger: logger,
                    connections: { (try? await dataplane.tunnelsBySigner()) ?? [:] },
                    retire: { dataplane.retire(dependingOn: $0) }, onTrust: publish)
            case .istio(let settings):
                try IstioSession(settings: settings, readiness: readiness, logger: logger, onTrust: publish)
            }
        self.source = source
        let identities = SVIDManager(issuer: source, bundles: { source.bundles }, logger: logger) { _, svid, _ in
            leaves.add(svid)
            Self.attempt("The SVID cannot be used", logger) { try dataplane.publish(svid) }
        } withdraw: { identity in
            leaves.remove(identity)
            dataplane.forget(identity)
        }
        self.identities = identities
        mesh = Self.mesh(settings, dataplane, logger)
        questions.goTo(mesh)
        pods = Self.pods(settings, dataplane, identities, predecessor, logger)
    }

    private static func attempt(_ failure: String, _ logger: Logger, _ body: () throws -> Void) {
        do { try body() } catch { logger.error("\(failure)", metadata: ["error": "\(error)"]) }
    }

    private static func mesh(_ settings: Settings, _ dataplane: Dataplane, _ logger: Logger) -> WorkloadDiscoveryClient
    {
        let snapshot = Mutex(MeshSnapshot())
        return WorkloadDiscoveryClient(
            socketPath: "\(settings.runDirectory)/xds.sock", node: settings.node, trustDomain: settings.trustDomain,
            logger: logger
        ) { update in
            let next = snapshot.withLock { snapshot in
                snapshot = snapshot.applying(update)
                return snapshot
            }
            dataplane.publish(next)
        }
    }

    private static func pods(
        _ settings: Settings, _ dataplane: Dataplane, _ identities: SVIDManager, _ predecessor: Predecessor?,
        _ logger: Logger
    ) -> ZDSClient {
        ZDSClient(path: "\(settings.runDirectory)/zds.sock", logger: logger) { uid, info, namespace in
            let pod = try Pod(
                name: .init(uid: uid, name: info.name, namespace: info.namespace), serviceAccount: info.serviceAccount,
                trustDomain: settings.trustDomain, networkNamespace: namespace)
            let listeners = try await predecessor?.listeners(podUID: uid) ?? []
            await identities.hold(podUID: uid, identity: pod.identity)
            // The predecessor accepts as long as we do not: nobody is to meet a proxy without a certificate.
            if !listeners.isEmpty { await identities.waitForSVID(of: pod.identity, atMost: Self.inheritanceTimeout) }
            do {
                try await dataplane.attach(pod, inheriting: listeners)
            } catch {
                await identities.release(podUID: uid)
                throw error
            }
            logger.info(
                "Pod attached",
                metadata: [
                    "pod": "\(info.namespace)/\(info.name)", "identity": "\(pod.identity)",
                    "inherited listeners": "\(listeners.count)",
                ])
        } delete: { uid in
            do {
                try await dataplane.detach(podUID: uid, deadline: settings.drainTimeout)
            } catch {
                logger.error("Pod not detached", metadata: ["pod": "\(uid)", "error": "\(error)"])
            }
            await identities.release(podUID: uid)
            logger.info("Pod detached", metadata: ["pod": "\(uid)"])
        }
    }

    // MARK: Running

    func run() async throws {
        logger.info(
            "Proxy started",
            metadata: [
                "workers": .stringConvertible(settings.workers),
                "descriptors": .stringConvertible(DescriptorLimit.current), "trust domain": "\(settings.trustDomain)",
                "directory": "\(settings.runDirectory)",
            ])
        let shutdown = AsyncStream<Void>.makeStream()
        try await withGracefulShutdownHandler {
            try await withThrowingTaskGroup { group in
                group.addTask { await accessLog.run() }
                group.addTask {
                    try await withThrowingTaskGroup { work in
                        start(in: &work)
                        work.addTask { for await _ in shutdown.stream { break } }
                        // The first to return is the shutdown; the first to throw is a fault that ends the proxy.
                        try await work.next()
                        work.cancelAll()
                    }
                    logger.info("Draining", metadata: ["deadline": "\(settings.drainTimeout)"])
                    try await dataplane.drain(deadline: settings.drainTimeout)
                    accessLog.finish()
                }
                try await group.waitForAll()
            }
        } onGracefulShutdown: {
            shutdown.continuation.finish()
        }
    }

    private func start(in group: inout ThrowingTaskGroup<Void, any Error>) {
        let handover = HandoverServer(
            path: settings.handoverPath, dataplane: dataplane, readiness: readiness, logger: logger)
        let certificates = CertificateServer(path: settings.certificatesPath, leaves: leaves, logger: logger)
        group.addTask {
            await predecessor?.run()
            if predecessor != nil { logger.info("The predecessor has ended") }
            // Both paths are the predecessor's until then.
            async let _ = certificates.run()
            await handover.run()
        }
        group.addTask {
            try await serveAdmin {
                ObservabilityServer.readiness(
                    readiness, host: settings.adminHost, port: Int(ReservedPort.readiness), logger: logger)
            }
        }
        group.addTask {
            try await serveAdmin {
                ObservabilityServer.metrics(
                    counters, host: settings.adminHost, port: Int(ReservedPort.metrics), logger: logger)
            }
        }
        group.addTask { try await source.run { await identities.taint($0) } }
        group.addTask { await identities.run() }
        group.addTask { await mesh.run() }
        group.addTask {
            // Pods are served once it is known who their peers are: before, everything would look foreign.
            while !mesh.status.isSynchronised { try await Task.sleep(for: .milliseconds(20)) }
            await pods.run()
        }
        group.addTask { try await watchStatus() }
        group.addTask { try await releaseText() }
        group.addTask { try await report() }
    }

    /// The ports are a predecessor's as long as it lives, when both are in one network namespace.
    private func serveAdmin(_ server: @Sendable () -> any ServiceLifecycle.Service) async throws {
        while try await isPortTaken(for: server()) { try await Task.sleep(for: Self.statusInterval) }
    }

    /// Serves; returns only when it could not begin.
    private func isPortTaken(for server: any ServiceLifecycle.Service) async throws -> Bool {
        do {
            try await server.run()
            return false
        } catch let error as IOError {
            guard error.errnoCode == EADDRINUSE, predecessor != nil else { throw error }
            return true
        }
    }

    /// Keeps readiness what it is, and says in the log when it changes.
    private func watchStatus() async throws {
        var meshCounters = MeshCounters(counters)
        var last: String? = ""
        var isNew = true
        while true {
            let mesh = mesh.status
            meshCounters.show(mesh)
            set(Condition.mesh, mesh.isSynchronised ? nil : mesh.lastError ?? "waiting for the agent's mesh state")
            set(Condition.pods, mesh.isSynchronised ? pods.status.unreadyReason : "waiting for the mesh")
            let obstacles = await identities.obstacles
            set(Condition.identities, obstacles.isEmpty ? nil : obstacles.joined(separator: ", "))
            let reason = readiness.notReadyBecause
            if reason != last {
                last = reason
                logger.info(
                    reason == nil ? "Ready" : "Not ready", metadata: reason.map { ["waiting for": "\($0)"] } ?? [:])
            }
            if reason == nil, isNew {
                isNew = false
                await becameReady()
            }
            try await Task.sleep(for: Self.statusInterval)
        }
    }

    private func becameReady() async {
        do {
            try await predecessor?.ready()
        } catch {
            logger.warning("The predecessor was not told that it may stop", metadata: ["error": "\(error)"])
        }
        ProcessMemory.releaseCode()
    }

    /// Leaves for the agent what it tells the cluster of this proxy; a successor's word counts once it serves.
    private func report() async throws {
        let file = ProxyReport.file(in: settings.runDirectory)
        var isSuccessor = predecessor != nil
        var isFailing = false
        while true {
            let reason = readiness.notReadyBecause
            if reason == nil { isSuccessor = false }
            if !isSuccessor { isFailing = leave(reason, in: file, wasFailing: isFailing) }
            try await Task.sleep(for: ProxyReport.interval)
        }
    }

    /// True when it fails, which is said once.
    private func leave(_ reason: String?, in file: ReportFile<ProxyReport>, wasFailing: Bool) -> Bool {
        let held = leaves.identities
        do {
            try file.write(
                ProxyReport(
                    version: Culvert.configuration.version, writtenAt: Date(), identities: held.count,
                    firstExpiry: held.firstExpiry, notReadyBecause: reason))
            return false
        } catch {
            if !wasFailing {
                logger.warning("The agent is not told of this proxy's state", metadata: ["reason": "\(error)"])
            }
            return true
        }
    }

    /// What a renewal or a scrape touched once need not stay.
    private func releaseText() async throws {
        while true {
            try await Task.sleep(for: Self.textInterval)
            ProcessMemory.releaseCode()
        }
    }

    private func set(_ condition: String, _ obstacle: String?) {
        if let obstacle { readiness.unmet(condition, because: obstacle) } else { readiness.met(condition) }
    }
}
