import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Synchronization

/// A client in good order while others are not: it talks over one connection all the time, and opens another now and then.
final class Companion: Sendable {
    private struct State {
        var rounds = 0
        var failure: String?
        var mustStop = false
        var hasStopped = false
    }

    private let state = Mutex(State())
    private static let roundsPerConnection = 20

    /// To an echo server.
    init(from host: TestNetwork.Host, to target: SocketAddress) throws {
        _ = try SystemThread(name: "test-companion") { [self] in
            let failure = Result { try host.namespace.run { try converse(with: target) } }
            state.withLock { state in
                if case .failure(let error) = failure { state.failure = "\(error), after \(state.rounds) rounds" }
                state.hasStopped = true
            }
        }
    }

    private func converse(with target: SocketAddress) throws {
        let steady = BlockingSocket(try TestConnection.connect(to: target))
        while !state.withLock({ $0.mustStop }) {
            let round = state.withLock { $0.rounds }
            try exchange(round, over: steady)
            if round % Self.roundsPerConnection == 0 {
                let fresh = BlockingSocket(try TestConnection.connect(to: target))
                try exchange(round, over: fresh)
            }
            state.withLock { $0.rounds += 1 }
            usleep(2000)
        }
    }

    private func exchange(_ round: Int, over socket: BlockingSocket) throws {
        let question = Array("round \(round)".utf8)
        socket.send(question)
        var answer: [UInt8] = []
        while answer.count < question.count {
            let more = try socket.received(question.count - answer.count)
            guard !more.isEmpty else { throw Errno(code: ECONNRESET, call: "the end, instead of an answer") }
            answer += more
        }
        guard answer == question else { throw Errno(code: EBADMSG, call: "another answer than the question") }
    }

    var failure: String? { state.withLock { $0.failure } }

    /// Waits until it has had so many rounds more, or failed.
    func goOn(rounds more: Int) async throws {
        let goal = state.withLock { $0.rounds } + more
        while state.withLock({ $0.rounds < goal && $0.failure == nil }) { try await Task.sleep(for: .milliseconds(5)) }
    }

    func stop() async throws {
        state.withLock { $0.mustStop = true }
        while !state.withLock({ $0.hasStopped }) { try await Task.sleep(for: .milliseconds(5)) }
    }
}
