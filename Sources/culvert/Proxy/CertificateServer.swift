import Glibc
import LinuxNetworking
import Logging
import SPIFFE

/// Shows the certificates that this proxy serves its pods under, to its own user: who connects to the socket gets one packet
/// for each identity, PEM with the leaf first, and the end. `culvert cert` commands take the socket's path for a file's.
///
/// Keys never leave the proxy.
struct CertificateServer {
    private static let timeout = Duration.seconds(5)

    let path: String
    let leaves: LeafRegister
    let logger: Logger

    /// Serves until the task is cancelled. A predecessor keeps the path as long as it lives.
    func run() async {
        let listener = await SeqpacketListener.once(at: path) { error in
            logger.info("Certificates are not shown yet", metadata: ["socket": "\(path)", "error": "\(error)"])
        }
        guard let listener else { return }
        defer { listener.close() }
        while !Task.isCancelled {
            do {
                try await show(to: try await listener.accept(deadline: nil))
            } catch {
                guard !Task.isCancelled else { return }
                logger.warning("Certificates not shown", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: SeqpacketListener.retryInterval)
            }
        }
    }

    private func show(to socket: SeqpacketSocket) async throws {
        defer { socket.close() }
        try socket.requireOwnUser()
        let deadline = ContinuousClock.now + Self.timeout
        for chain in leaves.chains() { try await socket.send(Array(chain.utf8), deadline: deadline) }
    }
}

extension SeqpacketListener {
    static let retryInterval = Duration.milliseconds(100)

    /// Listens at the path as soon as nobody else does; says once why that is not yet. `nil` when cancelled.
    static func once(at path: String, otherwise complain: (Errno) -> Void) async -> SeqpacketListener? {
        var said = false
        while !Task.isCancelled {
            do {
                return try SeqpacketListener(path: path)
            } catch {
                if !said { complain(error) }
                said = true
                try? await Task.sleep(for: retryInterval)
            }
        }
        return nil
    }
}
