import Glibc
import IPAddressing
import LinuxNetworking
import Synchronization

@testable import culvert

/// A program in one pod that talks to the echo server of another all the time, and looks at every answer.
final class ClusterClient: Sendable {
    enum Kind: CaseIterable {
        /// One connection for as long as it lives, lines on it all the time.
        case lasting
        /// Connections of a second, each ended in order.
        case session
        /// As many new connections as there is time for, one line on each, some fifty a second.
        case visit
    }

    struct Failure: Sendable, CustomStringConvertible {
        let from: String
        let to: String
        let kind: Kind
        let began: ContinuousClock.Instant
        let ended: ContinuousClock.Instant
        let reason: String

        func isOf(_ pod: String) -> Bool { from == pod || to == pod }

        var description: String { "\(from) → \(to) \(kind): \(reason) after \((ended - began) / .milliseconds(1)) ms" }
    }

    struct State: Sendable {
        /// Connections that were made, whatever became of them.
        var made = 0
        /// Lines that came back as they were sent.
        var lines = 0
        var failures: [Failure] = []
        /// Answers that were not what was sent.
        var wrong: [String] = []
    }

    private struct Control {
        var state = State()
        var socket: BlockingSocket?
        var mustStop = false
    }

    let kind: Kind
    let from: String
    let to: String
    /// Nil when it has ended: a client holds its pod's network namespace.
    private let namespace: Mutex<NetworkNamespace?>
    private let address: SocketAddress
    private let control = Mutex(Control())
    private let thread = Mutex<SystemThread?>(nil)
    private static let limit = Duration.seconds(10)

    init(_ kind: Kind, from client: DemoCluster.RunningPod, to server: DemoCluster.RunningPod, isIPv6: Bool) throws {
        (self.kind, from, to) = (kind, client.name, server.name)
        let ip = isIPv6 ? server.place.address.v6 : server.place.address.v4
        address = SocketAddress(ip, port: DemoTopology.Program.echo.port)
        namespace = Mutex(client.place.namespace)
        let started = try SystemThread(name: "cluster-client") { [self] in run() }
        thread.withLock { $0 = started }
    }

    var state: State { control.withLock { $0.state } }

    /// Its connection ends in order.
    func beginToStop() {
        control.withLock { control in
            control.mustStop = true
            control.socket?.shutDown()
        }
    }

    /// Returns when it has let go of everything.
    func stop() {
        beginToStop()
        thread.withLock { $0 }?.join()
        namespace.withLock { $0 = nil }
    }

    private var mustStop: Bool { control.withLock { $0.mustStop } }

    private struct Wrong: Error { let text: String }

    private func run() {
        var number = 0
        while !mustStop {
            number += 1
            let began = ContinuousClock.now
            do {
                try converse(number, until: kind == .session ? began + .seconds(1) : nil)
            } catch {
                control.withLock { control in
                    if let wrong = error as? Wrong {
                        control.state.wrong.append("\(from) → \(to): \(wrong.text)")
                    } else if !control.mustStop {
                        control.state.failures.append(
                            Failure(from: from, to: to, kind: kind, began: began, ended: .now, reason: "\(error)"))
                    }
                }
            }
            usleep(20_000)
        }
    }

    /// One connection.
    private func converse(_ number: Int, until end: ContinuousClock.Instant?) throws {
        guard let namespace = namespace.withLock(\.self) else { return }
        let socket = try namespace.run {
            try BlockingSocket.connect(to: address, limit: Self.limit) { !mustStop }
        }
        control.withLock { control in
            control.state.made += 1
            control.socket = socket
            if control.mustStop { socket.shutDown() }
        }
        defer { control.withLock { $0.socket = nil } }
        var reader = LineReader(socket)
        var lines = 0
        repeat {
            lines += 1
            let line = "\(number).\(lines): the road never knows"
            try socket.write(line + "\n")
            guard let answer = try reader.line() else { throw DemoError("the connection ended") }
            guard answer == line else { throw Wrong(text: "\"\(line)\" came back as \"\(answer.prefix(60))\"") }
            control.withLock { $0.state.lines += 1 }
            if kind != .visit { usleep(20_000) }
        } while kind != .visit && !mustStop && end.map { .now < $0 } ?? true
    }
}
