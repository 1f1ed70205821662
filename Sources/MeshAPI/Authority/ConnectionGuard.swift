import NIOCore
import NIOSSL
import Synchronization

/// Bounds what connections cost a server before they have proven anything: how many there are, and how long a handshake
/// may take.
final class ConnectionGuard: Sendable {
    private let limit: Int
    private let handshakeTimeout: TimeAmount
    private let count = Atomic(0)

    init(limit: Int, handshakeTimeout: TimeAmount = .seconds(10)) {
        self.limit = limit
        self.handshakeTimeout = handshakeTimeout
    }

    /// For each accepted connection, on its event loop, before it reads.
    func admit(_ channel: any Channel) -> EventLoopFuture<Void> {
        let number = count.add(1, ordering: .relaxed).newValue
        channel.closeFuture.whenComplete { _ in self.count.subtract(1, ordering: .relaxed) }
        guard number <= limit else {
            // Not failed: a failed accept would say nothing more and be logged by nobody.
            channel.close(promise: nil)
            return channel.eventLoop.makeSucceededVoidFuture()
        }
        return channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            let tls = try pipeline.handler(type: NIOSSLServerHandler.self)
            try pipeline.addHandler(HandshakeDeadline(handshakeTimeout), position: .after(tls))
        }
    }
}

/// Closes a connection that has not finished its TLS handshake, and begun to speak, in time.
private final class HandshakeDeadline: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = Any

    private let timeout: TimeAmount
    private var timer: Scheduled<Void>?

    init(_ timeout: TimeAmount) { self.timeout = timeout }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    /// After the TLS handler: the first bytes are the client's HTTP/2 preface.
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        timer?.cancel()
        context.fireChannelRead(data)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        context.fireChannelInactive()
    }
}
