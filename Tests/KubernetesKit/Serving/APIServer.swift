internal import Hummingbird
internal import HummingbirdCore
internal import HummingbirdHTTP2
internal import HummingbirdTLS
internal import Logging
internal import NIOCore
internal import NIOSSL
internal import Synchronization

/// A strict stand-in for the Kubernetes API server: real TLS on a real socket, kubectl and every other client speak to it.
///
/// One cluster, in memory. It listens from `start` until `stop`; `suspend` and `resume` take it away and bring it back, on the same
/// port and with the same objects.
///
/// What the real one has, and this one has not: protobuf but in requests of a few kinds (415), further versions and custom resources, schemas in
/// OpenAPI version 2, admission webhooks, the check that nobody grants more than they have, quotas, garbage collection by owner, and
/// controllers: nothing makes pods of a DaemonSet, and a pod is Running when somebody writes so. Namespaces are emptied, service
/// accounts and roots made in them, and pods taken away as `KubeletMode` says. The node authorizer's place is taken by RBAC.
public final class APIServer: Sendable {
    public struct Configuration: Sendable {
        public var host = "127.0.0.1"
        /// 0: any.
        public var port = 0
        /// Further names and IPv4 addresses that clients use.
        public var alternativeHosts: [String] = []
        /// Changes of one resource that watches can begin after.
        public var historyMax = 10_000
        public var kubelet = KubeletMode.confirmed
        /// HTTP/2 for clients that offer it, as the real server has it; otherwise HTTP/1.1 only.
        public var hasHTTP2 = false

        public init() {}
    }

    public let configuration: Configuration
    public let faults = Faults()
    public let clock = Clock()
    let registry: Registry
    let handler: Handler
    let log = RequestLog()
    let credentials: Credentials
    private let running = Mutex<(task: Task<Void, any Error>?, port: Int)>((nil, 0))

    /// Listens when it returns.
    public static func start(_ configuration: Configuration = Configuration()) async throws -> APIServer {
        let server = try APIServer(configuration)
        try await server.resume()
        return server
    }

    private init(_ configuration: Configuration) throws {
        self.configuration = configuration
        registry = Registry(historyMax: configuration.historyMax, clock: clock, kubelet: configuration.kubelet)
        credentials = try Credentials(
            hosts: [
                "127.0.0.1", "localhost", configuration.host, "10.96.0.1", "kubernetes", "kubernetes.default",
                "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
            ] + configuration.alternativeHosts)
        let tokens = ServiceAccountTokens(registry: registry)
        handler = Handler(
            registry: registry, authorizer: Authorizer(storage: registry.storage),
            authenticator: Authenticator(tokens: tokens), tokens: tokens)
        let (root, clock) = (credentials.root, clock)
        registry.storage.write { state in
            state.rootCertificate = root
            BootstrapRoles.install(&state, clock: clock)
        }
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            _ = try registry.create(.namespaces, "", ["metadata": ["name": .string(name)]], WriteOptions())
        }
    }

    deinit {
        running.withLock { $0.task }?.cancel()
    }

    public var port: Int { running.withLock { $0.port } }
    public var url: String { "https://\(configuration.host):\(port)" }

    /// Listens again, on the port that it had. That may be somebody else's for a moment: a connection's that is going away.
    public func resume() async throws {
        for _ in 0..<500 where port != 0 {
            if (try? await listen()) != nil { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        try await listen()
    }

    private func listen() async throws {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(credentials.server.certificate.utf8)).map {
                .certificate($0)
            },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(credentials.server.key.utf8), format: .pem)))
        tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(credentials.root.utf8)))
        tls.certificateVerification = .optionalVerification
        tls.minimumTLSVersion = .tlsv12
        tls.applicationProtocols = ["http/1.1"]
        var logger = Logger(label: "api-server")
        logger.logLevel = .critical
        let (listening, continuation) = AsyncStream<Int>.makeStream()
        let wanted = port == 0 ? configuration.port : port
        let application = Application(
            responder: Responder(handler: handler, faults: faults, log: log),
            server: try server(tls),
            configuration: .init(address: .hostname(configuration.host, port: wanted), reuseAddress: true),
            onServerRunning: { channel in
                continuation.yield(channel.localAddress?.port ?? 0)
                continuation.finish()
            }, logger: logger)
        let task = Task {
            defer { continuation.finish() }
            try await application.run()
        }
        for await port in listening {
            running.withLock { $0 = (task, port) }
            return
        }
        try await task.value
        throw Refusal.internalError("the server ended before it listened")
    }

    private func server(_ tls: TLSConfiguration) throws -> HTTPServerBuilder {
        let streams = HTTP1Channel.Configuration(additionalChannelHandlers: [ClosedInput()])
        return configuration.hasHTTP2
            ? try .http2Upgrade(tlsConfiguration: tls, configuration: .init(streamConfiguration: streams))
            : try .tls(.http1(configuration: streams), tlsConfiguration: tls)
    }

    /// Closes the listener and every connection; what is stored stays.
    public func suspend() async {
        let task = running.withLock { running in
            defer { running.task = nil }
            return running.task
        }
        task?.cancel()
        _ = await task?.result
    }

    /// Closes the listener and every connection.
    public func stop() async {
        faults.clear()
        await suspend()
        registry.storage.finish()
    }
}
