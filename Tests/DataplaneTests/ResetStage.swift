import Glibc
import LinuxNetworking
import Synchronization
import Testing

/// A connection that one of its ends resets in the middle.
struct ResetScene {
    enum Breaker: UInt8, CaseIterable {
        case clientAfterSending
        case clientAfterReceiving
        case serverAfterSending
        case serverAfterReceiving
    }

    let breaker: Breaker
    /// Of the content.
    let position: Int
    /// So many bytes into it.
    let count: Int

    init(using random: inout some RandomNumberGenerator) {
        breaker = Breaker.allCases.randomElement(using: &random)!
        position = Int.random(in: 0..<StressContent.period, using: &random)
        // As often in the first bytes as in the midst of many.
        count = Int.random(in: 0..<(1 << Int.random(in: 0...21, using: &random)), using: &random)
    }

    init?(_ header: [UInt8]) {
        guard header.count == Self.headerCount, let breaker = Breaker(rawValue: header[0]) else { return nil }
        self.breaker = breaker
        (position, count) = (Self.number(header[1...4]), Self.number(header[5...8]))
    }

    static let headerCount = 9

    private static func number(_ bytes: ArraySlice<UInt8>) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }

    var header: [UInt8] {
        [breaker.rawValue]
            + [position, count].flatMap { number in (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) } }
    }
}

/// Both ends of such connections, and what either found wrong.
final class ResetStage: Sendable {
    private struct State {
        var faults: [String] = []
        var serving = 0
    }

    private let state = Mutex(State())

    var faults: [String] { state.withLock { $0.faults } }

    private func fault(_ text: String) { state.withLock { $0.faults.append(text) } }

    /// Until every server has learned of its end.
    func settle() async throws {
        for _ in 0..<1500 where state.withLock({ $0.serving }) > 0 { try await Task.sleep(for: .milliseconds(10)) }
        #expect(state.withLock { $0.serving } == 0)
    }

    func serve(_ socket: BlockingSocket) {
        state.withLock { $0.serving += 1 }
        defer { state.withLock { $0.serving -= 1 } }
        var header: [UInt8] = []
        while header.count < ResetScene.headerCount {
            guard let bytes = try? socket.received(ResetScene.headerCount - header.count) else { return }
            guard !bytes.isEmpty else { return fault("a connection that was reset ended in order, before its header") }
            header += bytes
        }
        guard let scene = ResetScene(header) else { return fault("the header is \(header)") }
        switch scene.breaker {
        case .clientAfterSending: watchBreak(scene, socket)
        case .clientAfterReceiving: sendUntilBroken(scene, socket)
        case .serverAfterSending: sendAndReset(scene, socket)
        case .serverAfterReceiving: receiveAndReset(scene, socket)
        }
    }

    func play(_ scene: ResetScene, _ socket: BlockingSocket) {
        socket.send(scene.header)
        switch scene.breaker {
        case .clientAfterSending: sendAndReset(scene, socket)
        case .clientAfterReceiving: receiveAndReset(scene, socket)
        case .serverAfterSending: watchBreak(scene, socket)
        case .serverAfterReceiving: sendUntilBroken(scene, socket)
        }
    }

    private func sendAndReset(_ scene: ResetScene, _ socket: BlockingSocket) {
        var sent = 0
        while sent < scene.count {
            let part = min(1 << 16, scene.count - sent)
            guard StressContent.withBytes(at: scene.position + sent, count: part, socket.send) else {
                fault("\(scene): broke before it was reset")
                break
            }
            sent += part
        }
        socket.reset()
    }

    private func receiveAndReset(_ scene: ResetScene, _ socket: BlockingSocket) {
        receive(scene, socket, limit: scene.count)
        socket.reset()
    }

    private func watchBreak(_ scene: ResetScene, _ socket: BlockingSocket) { receive(scene, socket, limit: .max) }

    private func receive(_ scene: ResetScene, _ socket: BlockingSocket, limit: Int) {
        var count = 0
        while count < limit {
            let bytes: [UInt8]
            do {
                bytes = try socket.received(min(1 << 16, limit - count))
            } catch {
                // What was to break broke; what takes longer than ten seconds did not.
                if limit < .max || (error as? Errno)?.code != ECONNRESET { fault("\(scene): \(error) after \(count)") }
                return
            }
            guard !bytes.isEmpty else { return fault("\(scene): ended in order after \(count)") }
            guard StressContent.matches(bytes, at: scene.position + count) else {
                return fault("\(scene): wrong bytes after \(count)")
            }
            count += bytes.count
        }
    }

    private func sendUntilBroken(_ scene: ResetScene, _ socket: BlockingSocket) {
        var sent = 0
        while StressContent.withBytes(at: scene.position + sent, count: 1 << 16, socket.send) { sent += 1 << 16 }
        do {
            _ = try socket.received(1)
        } catch {
            if (error as? Errno)?.code == ETIMEDOUT { fault("\(scene): not broken, though nothing is taken") }
        }
    }
}
