import Dataplane
import Glibc
import LinuxNetworking

/// The proxy of this node that runs already, and is to be taken over from.
final class Predecessor: Sendable {
    /// It answers from memory; who does not is not going to.
    private static let timeout = Duration.seconds(5)

    private let socket: SeqpacketSocket
    private let answers: AsyncStream<Packet>
    private let arrived: AsyncStream<Packet>.Continuation

    /// `nil` when none runs.
    ///
    /// - Throws: when one runs but does not hand over: it speaks another version, or hands over to a third.
    static func find(at path: String) async throws -> Predecessor? {
        guard let socket = try connect(to: path) else { return nil }
        try socket.requireOwnUser()
        let hello = HandoverMessage.hello(version: HandoverMessage.version)
        try await socket.send(hello.bytes, deadline: .now + timeout)
        guard let answer = try await answer(from: socket) else {
            throw HandoverError("the proxy that runs refused to hand over")
        }
        guard HandoverMessage(answer.bytes) == hello else {
            throw HandoverError("the proxy that runs speaks another version: end it first")
        }
        return Predecessor(socket)
    }

    private static func connect(to path: String) throws(Errno) -> SeqpacketSocket? {
        do throws(Errno) {
            return try SeqpacketSocket(connectingTo: path)
        } catch {
            guard [ENOENT, ECONNREFUSED].contains(error.code) else { throw error }
            return nil
        }
    }

    private static func answer(from socket: SeqpacketSocket) async throws -> Packet? {
        do {
            return try await socket.receive(deadline: .now + timeout)
        } catch {
            guard error.code == ETIMEDOUT else { throw error }
            throw HandoverError("a proxy runs, and hands over to another already: end one of them")
        }
    }

    private init(_ socket: SeqpacketSocket) {
        self.socket = socket
        (answers, arrived) = AsyncStream.makeStream()
    }

    /// Returns when the predecessor has ended, or the task is cancelled.
    func run() async {
        while let packet = try? await socket.receive() { arrived.yield(packet) }
        arrived.finish()
        socket.close()
    }

    /// The pod's listening sockets; none when the predecessor does not serve it or is gone. To be asked for one pod at a time,
    /// while `run` runs.
    func listeners(podUID: String) async throws -> [SharedListener] {
        guard try await isAsked(.listeners(podUID: podUID)) else { return [] }
        var listeners: [SharedListener] = []
        for await packet in answers {
            switch HandoverMessage(packet.bytes) {
            case .listener(let address):
                guard let descriptor = packet.descriptor?.take() else {
                    throw HandoverError("the predecessor sent \(address) without its socket")
                }
                listeners.append(SharedListener(address: address, adopting: descriptor))
            case .end:
                return listeners
            default:
                throw HandoverError("the predecessor sent something else than listeners")
            }
        }
        // It died on the way: what has come is as good as all.
        return listeners
    }

    /// False when nobody is there any more.
    private func isAsked(_ question: HandoverMessage) async throws -> Bool {
        do {
            try await socket.send(question.bytes, deadline: .now + Self.timeout)
            return true
        } catch {
            guard [EPIPE, ECONNRESET].contains(error.code) else { throw error }
            return false
        }
    }

    /// This process serves every pod: the predecessor may stop.
    func ready() async throws {
        try await socket.send(HandoverMessage.ready.bytes, deadline: .now + Self.timeout)
    }
}

extension SeqpacketSocket {
    /// The socket's file is its owner's alone; this is for a directory that is not.
    func requireOwnUser() throws {
        let peer = try peerCredentials()
        guard peer.uid == geteuid() else {
            throw HandoverError("process \(peer.pid) of user \(peer.uid) is a stranger")
        }
    }
}
