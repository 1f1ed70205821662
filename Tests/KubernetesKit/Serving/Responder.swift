internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import NIOSSL

/// A request's connection, for the client's certificate.
struct ConnectionContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

/// From HTTP to the handler and back: credentials, faults, records, headers.
struct Responder: HTTPResponder {
    typealias Context = ConnectionContext

    let handler: Handler
    let faults: Faults
    let log: RequestLog

    private struct ConnectionCut: Error {}

    private static let impersonatedUser = HTTPField.Name("Impersonate-User")!
    private static let impersonatedGroup = HTTPField.Name("Impersonate-Group")!

    func respond(to request: Request, context: ConnectionContext) async throws -> Response {
        let info = RequestInfo(method: request.method, target: request.uri.description)
        var code = 200
        var user = User.anonymous
        let contentType = request.headers[.contentType] ?? ""
        let media = contentType.split(separator: ";").first.map { $0.filter { $0 != " " } } ?? ""
        let userAgent = request.headers[.userAgent] ?? ""
        func record() {
            log.add(
                RequestRecord(
                    verb: info.verb, path: info.path, query: info.query, group: info.groupVersion?.group ?? "",
                    resource: info.resource, subresource: info.subresource, namespace: info.namespace, name: info.name,
                    user: user.name, userAgent: userAgent, contentType: media, code: code))
            handler.registry.storage.wakeWaits()
        }
        var cutsBody = false
        var connection = context.channel
        var isStream = false
        do {
            let buffer: ByteBuffer
            do {
                buffer = try await request.body.collect(upTo: Decoding.bodyMax)
            } catch is NIOTooManyBytesError {
                throw Refusal.tooLarge("Request entity too large: limit is \(Decoding.bodyMax)")
            }
            (connection, isStream) = try await Self.connection(of: context.channel)
            let certificate = try await connection.nioSSL_peerCertificate().get()
            user = try handler.authenticator.user(
                certificate: try certificate?.toDERBytes(), authorization: request.headers[.authorization])
            user = try handler.impersonated(
                by: user, name: request.headers[values: Self.impersonatedUser].first,
                groups: request.headers[values: Self.impersonatedGroup])
            switch faults.next(verb: info.verb, resource: info.resource, user: user.name) {
            case .refuse(let code, let retryAfter):
                throw code == 429
                    ? Refusal.tooManyRequests(retryAfter: retryAfter ?? 1)
                    : Refusal(
                        code: code, reason: code == 500 ? "InternalError" : "ServiceUnavailable",
                        message: "an error that a test asked for", retryAfter: retryAfter)
            case .stall: await faults.stall { handler.registry.storage.wakeWaits() }
            case .close:
                connection.close(promise: nil)
                throw ConnectionCut()
            case .cutBody: cutsBody = true
            case nil: break
            }
            var warnings: [String] = []
            let read = ReadRequest(
                info: info, user: user, accept: request.headers[.accept], contentType: media, userAgent: userAgent,
                body: Array(buffer.readableBytesView))
            let answer = try handler.answer(read) { warnings.append($0) }
            var response = response(for: answer, channel: context.channel, isStream: isStream, cutsBody: cutsBody)
            for warning in warnings {
                let quoted = warning.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
                if let name = HTTPField.Name("Warning") {
                    response.headers.append(HTTPField(name: name, value: "299 - \"\(quoted)\""))
                }
            }
            code = Int(response.status.code)
            record()
            return response
        } catch let refusal as Refusal {
            code = refusal.code
            record()
            return Self.response(refusal)
        }
    }

    /// The TLS connection of a request: in HTTP/2 its channel is only a stream of that.
    private static func connection(of channel: any Channel) async throws -> (any Channel, isStream: Bool) {
        let isConnection = channel.pipeline.handler(type: NIOSSLServerHandler.self).map { _ in true }
        if try await isConnection.recover({ _ in false }).get() { return (channel, false) }
        return (channel.parent ?? channel, true)
    }

    private func response(for answer: Answer, channel: any Channel, isStream: Bool, cutsBody: Bool) -> Response {
        switch answer {
        case .json(let bytes, let code, let contentType):
            let headers: HTTPFields = [.contentType: contentType, .cacheControl: "no-cache, private"]
            let status = HTTPResponse.Status(code: code)
            guard cutsBody else {
                return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
            }
            return Response(
                status: status, headers: headers,
                body: .init(contentLength: bytes.count) { writer in
                    try await writer.write(ByteBuffer(bytes: bytes.prefix(bytes.count / 2)))
                    throw ConnectionCut()
                })
        case .watch(let watching):
            var headers: HTTPFields = [.contentType: "application/json", .cacheControl: "no-cache, private"]
            // Its connection is used for nothing after it, where it has one of its own.
            if !isStream { headers[.connection] = "close" }
            return Response(
                status: .ok, headers: headers,
                body: .init { writer in
                    let place = watching.storage.signals()
                    defer { watching.storage.forget(place.id) }
                    // A client that goes away while nothing changes is noticed, too.
                    channel.closeFuture.whenComplete { _ in watching.storage.forget(place.id) }
                    var watching = watching
                    try await watching.run(&writer, place.stream, wake: place.wake)
                    try await writer.finish(nil)
                })
        }
    }

    private static func response(_ refusal: Refusal) -> Response {
        var headers: HTTPFields = [.contentType: "application/json", .cacheControl: "no-cache, private"]
        if let seconds = refusal.retryAfter { headers[.retryAfter] = String(seconds) }
        return Response(
            status: .init(code: refusal.code), headers: headers,
            body: .init(byteBuffer: ByteBuffer(bytes: refusal.status.bytes)))
    }
}
