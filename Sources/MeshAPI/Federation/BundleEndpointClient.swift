import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
public import SPIFFE

/// Whose bundle is served where, and how the server proves itself (SPIFFE Federation section 5.2).
public struct BundleEndpoint: Sendable {
    public enum Profile: Sendable {
        /// `https_web`: by a certificate for the URL's host, under the PEM's roots or, without one, under the system's.
        case web(rootsPEM: String?)
        /// `https_spiffe`: by the SVID of this ID, verified with these bundles.
        case spiffe(SPIFFEID, TrustBundleSet)
    }

    public var url: HTTPSURL
    public var profile: Profile

    public init(url: HTTPSURL, profile: Profile) {
        self.url = url
        self.profile = profile
    }
}

/// Why no document was fetched.
public struct BundleFetchError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
}

extension BundleEndpoint {
    /// In bytes: many times what a bundle of a few authorities needs.
    public static let documentBytesMax = 256 << 10
    static let redirectionsMax = 3
    static let timeout = TimeAmount.seconds(10)

    /// The document as it stands there now. Follows a few redirections, each under the same rules of TLS.
    public func fetch() async throws(BundleFetchError) -> [UInt8] {
        var url = url
        for _ in 0...Self.redirectionsMax {
            let response = try await get(url)
            switch response.head.status.code {
            case 200: return response.body.map { Array($0.readableBytesView) } ?? []
            case 301, 302, 303, 307, 308:
                guard let location = response.head.headers.first(name: "location"),
                    let next = url.redirected(to: location)
                else { throw BundleFetchError(description: "\(url) leads on to what is no https URL") }
                url = next
            case let code: throw BundleFetchError(description: "\(url) answers with status \(code)")
            }
        }
        throw BundleFetchError(description: "\(self.url) leads on and on")
    }

    private func get(_ url: HTTPSURL) async throws(BundleFetchError) -> NIOHTTPClientResponseFull {
        var check: PeerCheck?
        if case .spiffe(let id, let bundles) = profile {
            let verifier = PeerVerifier(bundles: bundles)
            check = PeerCheck(
                role: .server, verifier: { verifier },
                objection: { $0 == id ? nil : "the server is \($0), not \(id)" })
        }
        do {
            return try await exchange(url, check)
        } catch {
            let reason = check?.lastRefusal ?? "\(error)".shortened(to: 512)
            throw BundleFetchError(description: "\(url): \(reason)")
        }
    }

    private func exchange(_ url: HTTPSURL, _ check: PeerCheck?) async throws -> NIOHTTPClientResponseFull {
        let context = try NIOSSLContext(configuration: tls())
        let name = url.server.address == nil ? url.server.host : nil
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let answer = loop.makePromise(of: NIOHTTPClientResponseFull.self)
        let request = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: url.path,
            headers: ["host": url.hostHeader, "accept": "application/json", "connection": "close"])
        let connected = ClientBootstrap(group: loop)
            .connectTimeout(Self.timeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let check {
                        try pipeline.addHandler(
                            NIOSSLClientHandler(
                                context: context, serverHostname: name,
                                customVerificationCallbackWithMetadata: { check($0, $1) }))
                    } else {
                        try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: name))
                    }
                    try pipeline.addHTTPClientHandlers()
                    try pipeline.addHandler(NIOHTTPClientResponseAggregator(maxContentLength: Self.documentBytesMax))
                    try pipeline.addHandler(ResponseTaker(request: request, answer: answer))
                }
            }
            .connect(host: url.server.host, port: Int(url.server.port))
        connected.whenFailure { answer.fail($0) }
        let deadline = loop.scheduleTask(in: Self.timeout) {
            answer.fail(BundleFetchError(description: "no answer in time"))
        }
        defer {
            deadline.cancel()
            connected.whenSuccess { $0.close(promise: nil) }
        }
        return try await answer.futureResult.get()
    }

    private func tls() throws -> TLSConfiguration {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        tls.applicationProtocols = ["http/1.1"]
        switch profile {
        case .web(let pem):
            tls.certificateVerification = .fullVerification
            if let pem { tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(pem.utf8))) }
        case .spiffe:
            tls.certificateVerification = .noHostnameVerification
            tls.trustRoots = .certificates([])
        }
        return tls
    }
}

/// Asks when the connection stands, and hands over what comes.
private final class ResponseTaker: ChannelInboundHandler {
    typealias InboundIn = NIOHTTPClientResponseFull
    typealias OutboundOut = HTTPClientRequestPart

    private let request: HTTPRequestHead
    private let answer: EventLoopPromise<NIOHTTPClientResponseFull>

    init(request: HTTPRequestHead, answer: EventLoopPromise<NIOHTTPClientResponseFull>) {
        self.request = request
        self.answer = answer
    }

    func channelActive(context: ChannelHandlerContext) {
        // The TLS handler keeps it until it knows whom it talks to.
        context.write(wrapOutboundOut(.head(request)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { answer.succeed(unwrapInboundIn(data)) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        answer.fail(error)
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        answer.fail(BundleFetchError(description: "the connection ended before an answer"))
    }
}
