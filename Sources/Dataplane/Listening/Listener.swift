import Glibc
import LinuxNetworking

/// Accepts on one port of one pod.
///
/// When the process runs out of descriptors it stops accepting for a moment instead of spinning: the kernel's backlog
/// holds the clients meanwhile.
final class Listener: Pollable {
    private unowned let worker: Worker
    private let accepted: (consuming OwnedDescriptor) -> Void
    /// The kernel has no descriptor or no memory for a connection that waits.
    var exhausted: (Errno) -> Void = { _ in }
    private var isAccepting = false
    private var isPaused = false
    /// Of one turn: peers are to begin with the first of many while the others are being accepted.
    private static let batchMax = 8
    /// More cannot wait (the kernel counts one beyond the backlog).
    private static let backlogMax = 1025
    private static let pauseOnExhaustion: Duration = .milliseconds(100)

    init(worker: Worker, descriptor: consuming OwnedDescriptor, accepted: @escaping (consuming OwnedDescriptor) -> Void)
    {
        self.worker = worker
        self.accepted = accepted
        super.init(descriptor: descriptor.release())
    }

    /// Accepts from now on, first of all what waits already. Nothing happens when it does.
    func start() throws(Errno) {
        guard !isAccepting else { return }
        try worker.loop.register(self, .readable)
        isAccepting = true
    }

    /// Accepts no more until it is started again; the kernel goes on taking connections.
    func stop() {
        guard isAccepting else { return }
        worker.loop.deregister(self)
        isAccepting = false
    }

    func duplicate() throws(Errno) -> OwnedDescriptor { try OwnedDescriptor(duplicating: descriptor) }

    /// What waits has been accepted by the kernel, and would be reset with the socket: it is accepted first.
    func close() {
        guard descriptor >= 0 else { return }
        if isAccepting {
            for _ in 0..<Listener.backlogMax {
                guard let connection = try? TCPSocket.accept(descriptor) else { break }
                accepted(connection)
            }
        }
        stop()
        _ = OwnedDescriptor(adopting: descriptor)
        descriptor = -1
    }

    override func ready(_ events: IOEvents) {
        // Edge-triggered: what the bound leaves in the backlog is looked at in the next turn.
        for _ in 0..<Listener.batchMax {
            guard isAccepting, !isPaused else { return }
            do {
                guard let connection = try TCPSocket.accept(descriptor) else { return }
                accepted(connection)
            } catch {
                // Somebody has destroyed the socket (`ss -K`): it would be ready for ever. The pod is handed over anew.
                if error.code == EINVAL { return stop() }
                guard error.isExhaustion else { continue }
                return pause(error)
            }
        }
        worker.loop.endOfTurn { [weak self] in self?.ready(.readable) }
    }

    private func pause(_ error: Errno) {
        isPaused = true
        worker.loop.schedule(after: Listener.pauseOnExhaustion) { [weak self] in
            self?.isPaused = false
            self?.ready(.readable)
        }
        exhausted(error)
    }
}
