public import Hummingbird
public import Logging

/// The HTTP endpoints of a role: of a node's `GET /healthz/ready` (15021) and `GET /metrics` (15020), of the authority's all at one.
public enum ObservabilityServer {
    /// 200 `ready`, or 503 with every condition that is still open and why.
    public static func readiness(
        _ readiness: Readiness, host: String, port: Int, logger: Logger
    ) -> some ApplicationProtocol {
        let router = Router()
        router.get("/healthz/ready") { _, _ in
            guard let reason = readiness.notReadyBecause else { return text(.ok, "ready\n") }
            return text(.serviceUnavailable, "not ready: \(reason)\n")
        }
        return application(router, host: host, port: port, logger: logger)
    }

    public static func metrics(_ counters: Counters, host: String, port: Int, logger: Logger)
        -> some ApplicationProtocol
    {
        let router = Router()
        router.get("/metrics") { _, _ in text(.ok, counters.text) }
        return application(router, host: host, port: port, logger: logger)
    }

    /// Everything at one address: `GET /healthz/live`, `/healthz/ready` and `/metrics`, each computed when it is asked for.
    ///
    /// `obstacle` says why the role cannot do its work; nil when it can.
    public static func all(
        obstacle: @escaping @Sendable () async -> String?, metrics: @escaping @Sendable () async -> MetricsPage,
        host: String, port: Int, logger: Logger
    ) -> some ApplicationProtocol {
        let router = Router()
        router.get("/healthz/live") { _, _ in text(.ok, "alive\n") }
        router.get("/healthz/ready") { _, _ in
            guard let reason = await obstacle() else { return text(.ok, "ready\n") }
            return text(.serviceUnavailable, "not ready: \(reason)\n")
        }
        router.get("/metrics") { _, _ in text(.ok, await metrics().text) }
        return application(router, host: host, port: port, logger: logger)
    }

    private static func application(
        _ router: Router<BasicRequestContext>, host: String, port: Int, logger: Logger
    ) -> some ApplicationProtocol {
        var logger = logger
        // What matters is thrown; what is left are complaints about being cancelled at the end.
        logger.logLevel = .critical
        return Application(
            router: router,
            configuration: ApplicationConfiguration(address: .hostname(host, port: port)),
            logger: logger
        )
    }

    private static func text(_ status: HTTPResponse.Status, _ body: String) -> Response {
        Response(
            status: status,
            headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: body))
        )
    }
}
