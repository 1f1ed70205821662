import Glibc
import IPAddressing
import LinuxNetworking
import Synchronization

@testable import culvert

/// A program in the client's pod that makes one connection after the other, whatever becomes of them, and looks at every byte.
final class SoakClient: Sendable {
    enum Kind: CaseIterable {
        /// Mebibytes each way, compared by SHA-256 on both sides.
        case bulk
        /// Lines of all lengths on one connection, each compared with its answer.
        case echo
        /// Short connections.
        case http
    }

    struct State: Sendable {
        var completed = 0
        var broken = 0
        /// Why they broke, and how many for each reason.
        var reasons: [String: Int] = [:]
        /// Bytes that were not those that were sent.
        var wrong: [String] = []
    }

    let kind: Kind
    private let traffic: DemoTraffic
    private let seed: Int
    private let control = Mutex(Control())
    private let thread = Mutex<SystemThread?>(nil)

    private struct Control {
        var state = State()
        var mustStop = false
    }

    /// It broke, as it should where it cannot go on.
    private struct Ended: Error {}
    private struct Wrong: Error {
        let text: String
    }

    init(_ kind: Kind, _ traffic: DemoTraffic, seed: Int) throws {
        (self.kind, self.traffic, self.seed) = (kind, traffic, seed)
        let started = try SystemThread(name: "soak-client") { [self] in run() }
        thread.withLock { $0 = started }
    }

    var state: State { control.withLock { $0.state } }

    func stop() {
        control.withLock { $0.mustStop = true }
        thread.withLock { $0 }?.join()
    }

    private var mustStop: Bool { control.withLock { $0.mustStop } }

    private func run() {
        var round = seed
        while !mustStop {
            round += 2
            do {
                switch kind {
                case .bulk: try transfer(round)
                case .echo: try converse()
                case .http: try browse(round)
                }
                control.withLock { $0.state.completed += 1 }
            } catch let wrong as Wrong {
                control.withLock { $0.state.wrong.append("\(kind): \(wrong.text)") }
            } catch {
                control.withLock { control in
                    control.state.broken += 1
                    control.state.reasons["\(kind): \(error)", default: 0] += 1
                }
                usleep(20_000)
            }
        }
    }

    private static let limit = Duration.seconds(5)

    private func transfer(_ round: Int) throws {
        let topology = traffic.network.topology
        let address = SocketAddress(topology.store.address.both[round / 2 % 2], port: DemoTopology.Program.sink.port)
        do {
            try BulkTransfer(bytes: 2 << 20).run(
                over: traffic.connect(from: topology.client, to: address, limit: Self.limit))
        } catch let failure as BulkTransfer.Failure {
            guard case .differs = failure else { throw failure }
            throw Wrong(text: failure.description)
        }
    }

    private func converse() throws {
        let topology = traffic.network.topology
        let address = SocketAddress(topology.store.address.v4, port: DemoTopology.Program.echo.port)
        let socket = try traffic.connect(from: topology.client, to: address, limit: Self.limit)
        var reader = LineReader(socket)
        for number in 0..<200 where !mustStop {
            let line = "\(number) " + String(repeating: "\(seed)abcdefghij", count: number * 37 % 40)
            try socket.write(line + "\n")
            guard let answer = try reader.line() else { throw Ended() }
            guard answer == line else { throw Wrong(text: "line \(number) came back as \(answer.prefix(60))") }
        }
    }

    private func browse(_ round: Int) throws {
        let topology = traffic.network.topology
        let pair = topology.pairs.first { $0.from == topology.client && $0.to == topology.web }!
        let addresses = traffic.webAddresses(pair)
        let address = addresses[round % addresses.count]
        let reply = try HTTPProbe(address: address).run(
            over: traffic.connect(from: pair.from, to: address, limit: Self.limit))
        let isNear = reply.peerSeen.map { topology.client.address.contains($0) } ?? false
        guard reply.status == 200, isNear else { throw Wrong(text: "\(reply)") }
    }
}

extension [SoakClient] {
    /// Whether each completes more than it had in `before`.
    func goOn(from before: [SoakClient.State], within limit: Duration) throws -> Bool {
        try Interruption.wait(atMost: limit) {
            zip(self, before).allSatisfy { $0.state.completed > $1.completed }
        }
    }
}
