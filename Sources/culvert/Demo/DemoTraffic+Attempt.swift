import IPAddressing
import LinuxNetworking

extension DemoTraffic {
    /// One way from a pod to a program of another.
    struct Way: Hashable, Sendable, CustomStringConvertible {
        let pair: DemoTopology.Pair
        let program: DemoTopology.Program
        let address: SocketAddress

        var description: String { "\(pair.name) by \(address)" }
    }

    /// All ways of a pair: every program of the destination, by service and by pod address.
    static func ways(_ pair: DemoTopology.Pair) -> [Way] {
        pair.to.programs.flatMap { program in
            let service = pair.isProtected ? pair.to.service : nil
            let virtual = (service?.ports.first { $0.target == program.port }).map { port in
                service!.addresses.both.map { SocketAddress($0, port: port.port) }
            }
            let direct = pair.to.address.both.map { SocketAddress($0, port: program.port) }
            return ((virtual ?? []) + direct).map { Way(pair: pair, program: program, address: $0) }
        }
    }

    enum AttemptResult: Sendable {
        case answered
        case failed(String)
    }

    /// A connection, a short question, and the first line of the answer.
    func attempt(_ way: Way, limit: Duration) -> AttemptResult {
        do {
            let socket = try connect(from: way.pair.from, to: way.address, limit: limit)
            try socket.write(way.program.question)
            var reader = LineReader(socket)
            return try reader.line() == nil ? .failed("the connection ended without an answer") : .answered
        } catch {
            return .failed("\(error)")
        }
    }
}

extension DemoTopology.Program {
    /// What the program answers with at least a line.
    fileprivate var question: String {
        switch self {
        case .http: "GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n"
        case .echo: "anybody there?\n"
        case .sink: "GET 0\n"
        }
    }
}
