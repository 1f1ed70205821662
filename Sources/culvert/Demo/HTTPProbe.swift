import IPAddressing
import LinuxNetworking

/// One `GET /` over a connection of its own, as `curl` does it.
struct HTTPProbe {
    enum Failure: Error, CustomStringConvertible {
        case notHTTP(String)
        case incomplete

        var description: String {
            switch self {
            case .notHTTP(let line): "the answer is not HTTP: \(line)"
            case .incomplete: "the answer ended early"
            }
        }
    }

    struct Reply: Hashable, Sendable {
        let status: Int
        /// The client's address as the server saw it.
        var peerSeen: IPAddress?
        var body = ""
        /// Request and response, in bytes.
        var bytes: UInt64 = 0
    }

    let address: SocketAddress
    var path = "/"

    func run(over socket: BlockingSocket) throws -> Reply {
        let request =
            "GET \(path) HTTP/1.1\r\nHost: \(address)\r\nUser-Agent: culvert-demo\r\nConnection: close\r\n\r\n"
        try socket.write(request)
        var reader = LineReader(socket)
        guard let first = try reader.line() else { throw Failure.incomplete }
        let words = first.split(separator: " ")
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
            throw Failure.notHTTP(String(first.prefix(60)))
        }
        var reply = Reply(status: status)
        reply.bytes = UInt64(request.utf8.count + first.utf8.count + 2)
        var length: Int?
        while true {
            guard let header = try reader.line() else { throw Failure.incomplete }
            reply.bytes += UInt64(header.utf8.count + 2)
            if header.isEmpty { break }
            guard let colon = header.firstIndex(of: ":") else { continue }
            let value = header[header.index(after: colon)...].drop { $0 == " " }
            switch header[..<colon].lowercased() {
            case "x-peer-address": reply.peerSeen = IPAddress(String(value))
            case "content-length": length = Int(value)
            default: break
            }
        }
        var body: [UInt8] = []
        while body.count < length ?? (64 << 10) {
            let part = try reader.bytes(atMost: (length ?? (64 << 10)) - body.count) { body += $0 }
            if part == 0 { break }
        }
        guard length == nil || body.count == length else { throw Failure.incomplete }
        reply.body = String(decoding: body, as: UTF8.self)
        reply.bytes += UInt64(body.count)
        return reply
    }
}
