import AsyncHTTPClient
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Requests to one API server, over connections that are kept.
///
/// Every method throws `KubernetesError`, or `CancellationError` where its task is cancelled. A token that the server refuses is read
/// again once; an overloaded server (429, or 503 with Retry-After) is asked again when it wants to be, a few times.
///
/// HTTP/1.1, so that each watch has a connection of its own: none waits behind another's, and a dead one is found by the kernel's
/// keep-alive within two minutes.
public final class KubernetesClient: Sendable {
    /// What an answer may cost us.
    public struct Limits: Sendable {
        /// Requests beyond these wait for one of them to end.
        public var requestsMax = 16
        public var watchesMax = 32
        /// Of one answer: a page of 500 pods has some five million.
        public var bodyBytesMax = 64 << 20
        /// Of one watch event. The server stores objects of up to 1.5 million bytes.
        public var lineBytesMax = 8 << 20
        public var pageItems = 500
        public var connectTimeout: Duration = .seconds(10)
        /// From the request to the answer's last byte.
        public var answerTimeout: Duration = .seconds(60)
        /// How long the server is asked to keep a watch, drawn anew for each.
        public var watchTimeout: ClosedRange<Int> = 300...600
        /// How long after that a silent watch is given up.
        public var watchSlack: Duration = .seconds(30)

        public init() {}
    }

    public let configuration: ClusterConfiguration
    let limits: Limits
    private let userAgent: String
    private let credentials: ClusterCredentials
    private let requests: HTTPClient
    private let watches: HTTPClient

    /// `userAgent` is `culvert/VERSION`.
    public init(_ configuration: ClusterConfiguration, userAgent: String, limits: Limits = Limits()) {
        self.configuration = configuration
        self.userAgent = userAgent
        self.limits = limits
        credentials = ClusterCredentials(configuration)
        requests = Self.http(connections: limits.requestsMax, configuration, limits)
        watches = Self.http(connections: limits.watchesMax, configuration, limits)
    }

    deinit {
        requests.shutdown { _ in }
        watches.shutdown { _ in }
    }

    private static func http(connections: Int, _ cluster: ClusterConfiguration, _ limits: Limits) -> HTTPClient {
        var configuration = HTTPClient.Configuration()
        configuration.httpVersion = .http1Only
        configuration.redirectConfiguration = .disallow
        configuration.decompression = .disabled
        configuration.timeout = .init(connect: TimeAmount(limits.connectTimeout))
        // Who asks decides when to ask again.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = connections
        if let name = cluster.serverName, let host = APIServerURL(cluster.server).host {
            configuration.dnsOverride = [name: host]
        }
        configuration.http1_1ConnectionDebugInitializer = keepAlive
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// A connection that has said nothing for 30 seconds is asked whether it lives, and given up after 60 more.
    @Sendable private static func keepAlive(_ channel: any Channel) -> EventLoopFuture<Void> {
        let tcp = SocketOptionLevel(NIOBSDSocket.OptionLevel.tcp.rawValue)
        let options: [(SocketOptionLevel, SocketOptionName, SocketOptionValue)] = [
            (SocketOptionLevel(NIOBSDSocket.OptionLevel.socket.rawValue), SocketOptionName(SO_KEEPALIVE), 1),
            (tcp, SocketOptionName(TCP_KEEPIDLE), 30), (tcp, SocketOptionName(TCP_KEEPINTVL), 15),
            (tcp, SocketOptionName(TCP_KEEPCNT), 4), (tcp, SocketOptionName(TCP_USER_TIMEOUT), 60_000),
        ]
        return EventLoopFuture.andAllSucceed(
            options.map { channel.setOption(ChannelOptions.Types.SocketOption(level: $0.0, name: $0.1), value: $0.2) },
            on: channel.eventLoop)
    }

    // MARK: One request

    struct Request {
        var method: HTTPMethod
        var path: String
        var query: [(String, String)] = []
        var body: JSONValue?
        var contentType = "application/json"
    }

    /// The answer's body, which is a success.
    func send(_ request: Request) async throws -> ByteBuffer {
        var patience = Patience()
        while true {
            let (status, headers, body) = try await exchange(request, &patience)
            if (200..<300).contains(status) { return body }
            let refusal = Self.refusal(status, headers, body)
            guard try await patience.allowsRetry(after: refusal, credentials) else {
                throw KubernetesError.refused(refusal)
            }
        }
    }

    private func exchange(
        _ request: Request, _ patience: inout Patience
    ) async throws -> (status: Int, headers: HTTPHeaders, body: ByteBuffer) {
        let prepared = try prepare(request)
        while true {
            do {
                return try await Deadline.race(limits.answerTimeout) { [requests, limits] in
                    let response = try await requests.execute(prepared, deadline: .distantFuture)
                    let body = try await response.body.collect(upTo: limits.bodyBytesMax)
                    return (Int(response.status.code), response.headers, body)
                }
            } catch {
                // The server has closed a kept connection at the moment when we used it: reading again does no harm.
                let error = Self.error(error)
                guard request.method == .GET, case .some(.unreachable) = error as? KubernetesError,
                    patience.reconnects()
                else { throw error }
            }
        }
    }

    /// Gives nil when the answer is a success, then its body in pieces, until it ends; throws where it breaks, or is silent for
    /// `silenceMax`.
    func stream(
        _ request: Request, silenceMax: Duration, _ consume: (ByteBuffer?) async throws -> Void
    ) async throws {
        var patience = Patience()
        while true {
            let prepared = try prepare(request)
            let response: HTTPClientResponse
            do {
                response = try await Deadline.race(limits.answerTimeout) { [watches] in
                    try await watches.execute(prepared, deadline: .distantFuture)
                }
            } catch { throw Self.error(error) }
            if response.status == .ok {
                try await consume(nil)
                return try await Self.pieces(of: response.body, silenceMax: silenceMax, consume)
            }
            let body: ByteBuffer
            do {
                body = try await Deadline.race(limits.answerTimeout) { [limits] in
                    try await response.body.collect(upTo: limits.bodyBytesMax)
                }
            } catch { throw Self.error(error) }
            let refusal = Self.refusal(Int(response.status.code), response.headers, body)
            guard try await patience.allowsRetry(after: refusal, credentials) else {
                throw KubernetesError.refused(refusal)
            }
        }
    }

    private static func pieces(
        of body: HTTPClientResponse.Body, silenceMax: Duration, _ consume: (ByteBuffer?) async throws -> Void
    ) async throws {
        let pieces = PieceReader(body)
        while true {
            let piece: ByteBuffer?
            do {
                piece = try await Deadline.race(silenceMax) { try await pieces.next() }
            } catch { throw error is CancellationError ? error : Self.error(error) }
            guard let piece else { return }
            try await consume(piece)
        }
    }

    private func prepare(_ request: Request) throws -> HTTPClientRequest {
        var url = APIServerURL(configuration.server)
        if let name = configuration.serverName { url.host = name }
        var prepared = HTTPClientRequest(url: url.text + request.path + Self.query(request.query))
        prepared.method = request.method
        prepared.headers.add(name: "Accept", value: "application/json")
        prepared.headers.add(name: "User-Agent", value: userAgent)
        do {
            if let token = try credentials.token() {
                prepared.headers.add(name: "Authorization", value: "Bearer " + token)
            }
            if url.isSecure { prepared.tlsConfiguration = try credentials.tls() }
        } catch { throw KubernetesError.credentials(error as ClusterConfigurationError) }
        if let body = request.body {
            prepared.headers.add(name: "Content-Type", value: request.contentType)
            prepared.body = .bytes(ByteBuffer(string: body.text))
        }
        return prepared
    }

    private static func query(_ items: [(String, String)]) -> String {
        guard !items.isEmpty else { return "" }
        return "?" + items.map { "\($0.0)=\(KubernetesResource.encoded($0.1))" }.joined(separator: "&")
    }

    static func refusal(_ code: Int, _ headers: HTTPHeaders, _ body: ByteBuffer) -> KubernetesError.Refusal {
        let wait = headers.first(name: "Retry-After").flatMap { Int($0) }.map { Duration.seconds(max($0, 0)) }
        guard let status = try? body.withUnsafeReadableBytes({ try Status(json: $0) }), status.status == "Failure"
        else {
            // A proxy's page, or none at all.
            return KubernetesError.Refusal(Status(), code: code, retryAfter: wait)
        }
        return KubernetesError.Refusal(status, code: code, retryAfter: wait)
    }

    private static func error(_ error: any Error) -> any Error {
        switch error {
        case is CancellationError, is KubernetesError: error
        case let error as HTTPClientError where error == .cancelled: CancellationError()
        case is Deadline.Passed: KubernetesError.timedOut
        case is NIOTooManyBytesError: KubernetesError.unusable("it is too large")
        case let error as HTTPClientError: KubernetesError.unreachable(error.shortDescription)
        default: KubernetesError.unreachable("\(error)")
        }
    }
}
