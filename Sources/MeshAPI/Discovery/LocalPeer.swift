import GRPCCore
import Glibc
import NIOCore
import NIOHPACK
import NIOHTTP2
import Synchronization

/// The process at the other end of a Unix socket, as the kernel recorded it when that process connected.
public struct LocalPeer: Hashable, Sendable {
    public let pid: Int32
    public let uid: UInt32

    /// Who makes the call that is being answered; nil outside of calls over Unix sockets.
    @TaskLocal public static var current: LocalPeer?
}

/// Which users a Unix socket server serves: its own and root, unless told otherwise.
///
/// gRPC tells a service nothing of its caller's socket. So the answer of SO_PEERCRED goes the way of the request: it is written into
/// each request's headers when they arrive, over whatever a client wrote there, and read by `LocalPeerInterceptor`.
final class LocalPeerCheck: Sendable {
    static let header = "culvert-local-peer"

    private let admits: @Sendable (LocalPeer) -> Bool
    private let onRefusal: @Sendable (LocalPeer?) -> Void
    private let peers = Mutex<[ObjectIdentifier: LocalPeer]>([:])

    init(
        admits: @escaping @Sendable (LocalPeer) -> Bool = { [own = geteuid()] in $0.uid == own || $0.uid == 0 },
        onRefusal: @escaping @Sendable (LocalPeer?) -> Void = { _ in }
    ) {
        self.admits = admits
        self.onRefusal = onRefusal
    }

    /// The kernel's `struct ucred`.
    private struct Credentials {
        var pid: Int32 = 0
        var uid: UInt32 = .max
        var gid: UInt32 = .max
    }

    /// For each accepted connection, on its event loop, before it reads.
    func admit(_ channel: any Channel) -> EventLoopFuture<Void> {
        guard let options = channel as? any SocketOptionProvider else {
            return refuse(channel, nil)
        }
        let level = NIOBSDSocket.OptionLevel.socket
        let name = NIOBSDSocket.Option(rawValue: SO_PEERCRED)
        let found: EventLoopFuture<Credentials> = options.unsafeGetSocketOption(level: level, name: name)
        return found.flatMap { credentials in
            let peer = LocalPeer(pid: credentials.pid, uid: credentials.uid)
            guard self.admits(peer) else { return self.refuse(channel, peer) }
            let id = ObjectIdentifier(channel)
            self.peers.withLock { $0[id] = peer }
            channel.closeFuture.whenComplete { _ in self.peers.withLock { $0[id] = nil } }
            return channel.eventLoop.makeSucceededVoidFuture()
        }.flatMapError { _ in self.refuse(channel, nil) }
    }

    /// Not failed: a failed accept would say nothing more and be logged by nobody.
    private func refuse(_ channel: any Channel, _ peer: LocalPeer?) -> EventLoopFuture<Void> {
        onRefusal(peer)
        channel.close(promise: nil)
        return channel.eventLoop.makeSucceededVoidFuture()
    }

    /// For each HTTP/2 stream, before its headers are read.
    func mark(_ stream: any Channel) -> EventLoopFuture<Void> {
        let peer = stream.parent.flatMap { connection in peers.withLock { $0[ObjectIdentifier(connection)] } }
        return stream.eventLoop.makeCompletedFuture {
            try stream.pipeline.syncOperations.addHandler(LocalPeerMarker(peer: peer), position: .first)
        }
    }
}

private final class LocalPeerMarker: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias InboundOut = HTTP2Frame.FramePayload

    private let value: String?

    init(peer: LocalPeer?) { value = peer.map { "\($0.pid) \($0.uid)" } }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .headers(var content) = unwrapInboundIn(data) else { return context.fireChannelRead(data) }
        content.headers.remove(name: LocalPeerCheck.header)
        if let value { content.headers.add(name: LocalPeerCheck.header, value: value) }
        context.fireChannelRead(wrapInboundOut(.headers(content)))
    }
}

/// Puts the caller's credentials where services find them.
struct LocalPeerInterceptor: ServerInterceptor {
    func intercept<Input: Sendable, Output: Sendable>(
        request: StreamingServerRequest<Input>, context: ServerContext,
        next: @Sendable (StreamingServerRequest<Input>, ServerContext) async throws -> StreamingServerResponse<Output>
    ) async throws -> StreamingServerResponse<Output> {
        let words = request.metadata[stringValues: LocalPeerCheck.header].first { _ in true }?.split(separator: " ")
        guard let words, words.count == 2, let pid = Int32(words[0]), let uid = UInt32(words[1]) else {
            throw RPCError(code: .permissionDenied, message: "it is not known who calls")
        }
        return try await LocalPeer.$current.withValue(LocalPeer(pid: pid, uid: uid)) {
            try await next(request, context)
        }
    }
}
