internal import NIOCore
internal import NIOSSL

/// Closes the connection of a client that has closed its end: it waits for nothing more, as Go's server takes it, too.
///
/// On a stream of HTTP/2 it does nothing: there, the end of the input is only the end of the request.
final class ClosedInput: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        let isConnection = (try? context.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self)) != nil
        if let event = event as? ChannelEvent, event == .inputClosed, isConnection {
            context.close(promise: nil)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }
}
