import Glibc
import LinuxNetworking
import Synchronization

/// One long-lived connection on which lines go to and fro all the time, on a thread of its own.
final class EchoConversation: Sendable {
    struct State: Sendable {
        var linesEchoed = 0
        var bytes: UInt64 = 0
        /// When and why the connection broke, unless `end` ended it.
        var broken: Break?
    }

    struct Break: Sendable {
        let at: ContinuousClock.Instant
        let reason: String
    }

    private struct Control {
        var state = State()
        var isEnding = false
    }

    private let socket: BlockingSocket
    private let control = Mutex(Control())

    init(over socket: BlockingSocket) throws(Errno) {
        self.socket = socket
        _ = try SystemThread(name: "echo-client") { [self] in converse() }
    }

    var state: State { control.withLock { $0.state } }

    /// The thread ends soon after.
    func end() {
        control.withLock { $0.isEnding = true }
        socket.shutDown()
    }

    private func converse() {
        var reader = LineReader(socket)
        var number = 0
        while !control.withLock({ $0.isEnding }) {
            number += 1
            let line = "line \(number): the road never knows"
            do {
                try socket.write(line + "\n")
                guard let answer = try reader.line() else { return broke("the peer ended the connection") }
                guard answer == line else { return broke("line \(number) came back as \"\(answer.prefix(60))\"") }
            } catch {
                return broke("\(error)")
            }
            control.withLock {
                $0.state.linesEchoed += 1
                $0.state.bytes += UInt64(2 * (line.utf8.count + 1))
            }
            usleep(EchoConversation.pauseMicroseconds)
        }
    }

    private func broke(_ reason: String) {
        control.withLock { control in
            if !control.isEnding { control.state.broken = Break(at: .now, reason: reason) }
        }
    }

    private static let pauseMicroseconds: UInt32 = 20_000
}
