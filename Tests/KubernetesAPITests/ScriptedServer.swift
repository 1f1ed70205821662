import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// An HTTP/1.1 server on loopback that answers as it is told, byte by byte: also what no server should answer.
final class ScriptedServer: Sendable {
    struct Request: Sendable {
        let method: String
        let uri: String
        let headers: HTTPHeaders
        let body: String

        var path: String { String(uri.prefix { $0 != "?" }) }
        var query: [String: String] {
            guard let mark = uri.firstIndex(of: "?") else { return [:] }
            let pairs = uri[uri.index(after: mark)...].split(separator: "&").map { pair in
                let parts = pair.split(separator: "=", maxSplits: 1)
                return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
            }
            return Dictionary(pairs) { $1 }
        }
    }

    enum Step: Sendable {
        /// Bytes as they go out.
        case raw(String)
        /// The connection ends, in good order or by a reset.
        case close
        case reset
        /// Nothing more; the connection stays.
        case silence

        static func answer(_ code: Int, _ body: String, headers: String = "") -> [Step] {
            [
                .raw(
                    "HTTP/1.1 \(code) X\r\nContent-Type: application/json\r\n\(headers)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
                )
            ]
        }

        static let watchHead = Step.raw(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")

        static func chunk(_ text: String) -> Step {
            .raw(String(text.utf8.count, radix: 16) + "\r\n" + text + "\r\n")
        }

        static let lastChunk = Step.raw("0\r\n\r\n")
    }

    /// What to answer to the nth request, from zero.
    typealias Script = @Sendable (Request, Int) -> [Step]

    private let channel: any Channel
    private let record: Record

    var url: String { "http://127.0.0.1:\(channel.localAddress?.port ?? 0)" }
    var requests: [Request] { record.requests.withLock { $0 } }

    private final class Record: Sendable {
        let requests = Mutex<[Request]>([])
    }

    private init(_ channel: any Channel, _ record: Record) {
        self.channel = channel
        self.record = record
    }

    /// Serves while `body` runs.
    @discardableResult
    static func serving<Value>(
        _ script: @escaping Script, _ body: (ScriptedServer) async throws -> Value
    ) async throws -> Value {
        let record = Record()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handlers = channel.pipeline.syncOperations
                    try handlers.addHandler(ByteToMessageHandler(HTTPRequestDecoder()))
                    try handlers.addHandler(Handler(record: record, script: script))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let server = ScriptedServer(channel, record)
        do {
            let value = try await body(server)
            try await channel.close()
            return value
        } catch {
            try? await channel.close()
            throw error
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = ByteBuffer

        private let record: Record
        private let script: Script
        private var head: HTTPRequestHead?
        private var body = ByteBuffer()

        init(record: Record, script: @escaping Script) {
            self.record = record
            self.script = script
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head):
                self.head = head
                body = ByteBuffer()
            case .body(let bytes): body.writeImmutableBuffer(bytes)
            case .end:
                guard let head else { return }
                let request = Request(
                    method: head.method.rawValue, uri: head.uri, headers: head.headers, body: String(buffer: body))
                let number = record.requests.withLock { requests in
                    requests.append(request)
                    return requests.count - 1
                }
                play(script(request, number), context)
            }
        }

        private func play(_ steps: [Step], _ context: ChannelHandlerContext) {
            for step in steps {
                switch step {
                case .raw(let text): context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
                case .close: context.close(promise: nil)
                case .reset:
                    let channel = context.channel
                    (channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
                        .whenComplete { _ in channel.close(promise: nil) }
                case .silence: return
                }
            }
        }
    }
}
