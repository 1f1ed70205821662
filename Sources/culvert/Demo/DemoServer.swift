import Crypto
import IPAddressing
import LinuxNetworking

/// The unmodified programs that the demo's pods run: plain TCP servers, one thread per connection.
struct DemoServer: Sendable {
    let program: DemoTopology.Program
    /// Of the pod, for the greeting.
    let name: String

    /// Returns only with an error.
    func run(port: UInt16) throws -> Never {
        let listener = try BlockingSocket.listen(port: port)
        while true {
            let socket = try listener.accept()
            _ = try SystemThread(name: program.rawValue) {
                // A client that goes away is its own affair.
                try? serve(socket)
            }
        }
    }

    /// Returns when the client has finished.
    func serve(_ socket: BlockingSocket) throws {
        var reader = LineReader(socket)
        switch program {
        case .http: try serveHTTP(socket, &reader)
        case .echo: while let line = try reader.line() { try socket.write(line + "\n") }
        case .sink: try serveBulk(socket, &reader)
        }
    }

    /// One request, answered with a greeting that says who the server thinks is calling.
    private func serveHTTP(_ socket: BlockingSocket, _ reader: inout LineReader) throws {
        guard let request = try reader.line() else { return }
        while let header = try reader.line(), !header.isEmpty {}
        let peer = socket.peer?.ip.description ?? "unknown"
        let isGet = request.hasPrefix("GET ")
        let status = isGet ? "200 OK" : "405 Method Not Allowed"
        let body = isGet ? "Hello from \(name). I see you as \(peer).\n" : "only GET\n"
        try socket.write(
            """
            HTTP/1.1 \(status)\r
            Content-Type: text/plain; charset=utf-8\r
            Content-Length: \(body.utf8.count)\r
            X-Peer-Address: \(peer)\r
            Connection: close\r
            \r
            \(body)
            """)
        socket.finishWriting()
        // Wait for the client to have read it: closing with unread input would reset the connection.
        while try reader.line() != nil {}
    }

    /// `PUT <bytes>`, answered with the digest of what came; or `GET <bytes>`, answered with as many and then the digest.
    private func serveBulk(_ socket: BlockingSocket, _ reader: inout LineReader) throws {
        while let command = try reader.line() {
            let words = command.split(separator: " ")
            guard words.count == 2, let count = Int(words[1]), (0...(1 << 40)).contains(count) else { return }
            switch words[0] {
            case "PUT":
                try socket.write("\(try BulkTransfer.receive(count, &reader).hexadecimal)\n")
            case "GET":
                let digest = try BulkTransfer.send(count, seed: BulkTransfer.serverSeed, socket)
                try socket.write("\(digest.hexadecimal)\n")
            default:
                return
            }
        }
    }
}
