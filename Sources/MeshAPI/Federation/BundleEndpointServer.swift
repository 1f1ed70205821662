public import IPAddressing
import NIOCertificateReloading
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// The bundle endpoint of a trust domain (SPIFFE Federation section 5.1): `GET /` over HTTPS answers its JWKS of the moment.
///
/// Anybody may ask: a bundle is public, and clients are not authenticated. One request for each connection.
public struct BundleEndpointServer: Sendable {
    static let connectionsMax = 256
    /// For all of a connection's life.
    static let connectionTimeout = TimeAmount.seconds(15)

    private let channel: any Channel

    /// Listens. `identity` is asked for each handshake, `document` for each request.
    public static func listening(
        at address: IPAddressing.SocketAddress, identity: ReplaceableIdentity,
        document: @escaping @Sendable () -> String
    ) async throws -> BundleEndpointServer {
        var tls = try TLSConfiguration.makeServerConfiguration(certificateReloader: identity)
        tls.minimumTLSVersion = .tlsv12
        tls.certificateVerification = .none
        tls.applicationProtocols = ["http/1.1"]
        let context = try NIOSSLContext(configuration: tls)
        let connections = ConnectionGuard(limit: connectionsMax)
        let channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOSSLServerHandler(context: context))
                    try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: false)
                    try pipeline.addHandler(BundleResponder(document: document))
                    let end = channel.eventLoop.scheduleTask(in: connectionTimeout) { channel.close(promise: nil) }
                    channel.closeFuture.whenComplete { _ in end.cancel() }
                }.flatMap { connections.admit(channel) }
            }
            .bind(host: "\(address.ip)", port: Int(address.port)).get()
        return BundleEndpointServer(channel: channel)
    }

    public var port: UInt16 { UInt16(channel.localAddress?.port ?? 0) }

    /// Serves until the task is cancelled.
    public func run() async throws {
        try await withTaskCancellationHandler {
            try await channel.closeFuture.get()
        } onCancel: {
            channel.close(promise: nil)
        }
    }
}

/// Answers the first request and closes.
private final class BundleResponder: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let document: @Sendable () -> String
    private var hasAnswered = false

    init(document: @escaping @Sendable () -> String) { self.document = document }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let request) = unwrapInboundIn(data), !hasAnswered else { return }
        hasAnswered = true
        let path = request.uri.prefix { $0 != "?" }
        switch request.method {
        case _ where path != "/": answer(context, .notFound, "there is one document here: /\n", to: request)
        case .GET, .HEAD: answer(context, .ok, document(), type: "application/json", to: request)
        default: answer(context, .methodNotAllowed, "GET only\n", allow: "GET, HEAD", to: request)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func answer(
        _ context: ChannelHandlerContext, _ status: HTTPResponseStatus, _ text: String, type: String = "text/plain",
        allow: String? = nil, to request: HTTPRequestHead
    ) {
        var headers = HTTPHeaders([
            ("content-type", type), ("content-length", "\(text.utf8.count)"), ("connection", "close"),
        ])
        if let allow { headers.add(name: "allow", value: allow) }
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if request.method != .HEAD {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: text)))), promise: nil)
        }
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
    }
}
