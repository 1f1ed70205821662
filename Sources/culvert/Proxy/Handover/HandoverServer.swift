import Dataplane
import Glibc
import LinuxNetworking
import Logging
import Observability

/// Lets a later proxy of this node take over from this one, without a connection refused.
struct HandoverServer {
    static let condition = "handover"
    private static let timeout = Duration.seconds(5)

    let path: String
    let dataplane: Dataplane
    let readiness: Readiness
    let logger: Logger

    /// Serves one successor after the other until the task is cancelled.
    func run() async {
        // A predecessor that ends may be a moment from leaving the path.
        let listener = await SeqpacketListener.once(at: path) { error in
            logger.error("No successor can take over", metadata: ["socket": "\(path)", "error": "\(error)"])
        }
        guard let listener else { return }
        // Before the connection to the successor: when that ends, the path is its own.
        defer { listener.close() }
        while !Task.isCancelled {
            do {
                let socket = try await listener.accept()
                await serve(socket, listener)
            } catch {
                guard !Task.isCancelled else { return }
                logger.warning("No successor accepted", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: SeqpacketListener.retryInterval)
            }
        }
    }

    private func serve(_ socket: SeqpacketSocket, _ listener: SeqpacketListener) async {
        var isStandingBy = false
        var reason = "it closed the connection"
        do {
            try socket.requireOwnUser()
            try await greet(socket)
            let successor = try socket.peerCredentials().pid
            logger.info("A successor has come", metadata: ["pid": "\(successor)"])
            while let packet = try await socket.receive() {
                switch HandoverMessage(packet.bytes) {
                case .listeners(let uid):
                    try await send(try await dataplane.share(podUID: uid), to: socket)
                case .ready:
                    isStandingBy = true
                    readiness.unmet(Self.condition, because: "a successor serves the node's pods")
                    try await dataplane.standBy()
                    logger.info("The successor serves: connections that are open go on, new ones are its own")
                default:
                    throw HandoverError("it sent something that is no question")
                }
            }
        } catch {
            reason = "\(error)"
        }
        if Task.isCancelled { listener.close() }
        socket.close()
        guard !Task.isCancelled else { return }
        readiness.met(Self.condition)
        logger.warning(
            "The successor is gone", metadata: ["reason": "\(reason)", "it served": "\(isStandingBy)"])
        do {
            try await dataplane.takeBack()
        } catch {
            logger.error("Not every pod is served again", metadata: ["error": "\(error)"])
        }
    }

    private func greet(_ socket: SeqpacketSocket) async throws {
        let packet = try await socket.receive(deadline: .now + Self.timeout)
        guard let packet, case .hello(let version) = HandoverMessage(packet.bytes) else {
            throw HandoverError("it did not say hello")
        }
        // Whatever its version: it decides whether it understands ours.
        try await socket.send(
            HandoverMessage.hello(version: HandoverMessage.version).bytes, deadline: .now + Self.timeout)
        guard version == HandoverMessage.version else { throw HandoverError("it speaks version \(version)") }
    }

    private func send(_ listeners: [SharedListener], to socket: SeqpacketSocket) async throws {
        for listener in listeners {
            try await socket.send(
                HandoverMessage.listener(listener.address).bytes, passing: listener.descriptor,
                deadline: .now + Self.timeout)
        }
        try await socket.send(HandoverMessage.end.bytes, deadline: .now + Self.timeout)
        withExtendedLifetime(listeners) {}
    }
}
