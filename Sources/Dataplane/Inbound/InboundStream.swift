import HBONE
import LinuxNetworking

/// One tunnelled connection to the application: first the TCP connect, then bytes both ways.
final class InboundStream: TunnelledSocket {
    private var isConnected = false
    private var connectTimer: TimerToken?

    func connect(over tunnel: InboundTunnel, stream: Int32) {
        carried(by: tunnel, stream: stream)
        let limit = worker.configuration.connectTimeout
        connectTimer = worker.loop.schedule(after: limit) { [weak self] in
            self?.refused(ConnectionFailure(.connect, "connection to the application timed out after \(limit)"))
        }
        do {
            try register()
        } catch {
            return refused(ConnectionFailure(.overload, "\(error)"))
        }
        // Over loopback the handshake is done by the time connect(2) returns.
        if TCPSocket.peerAddress(descriptor) != nil { connected() }
    }

    private func connected() {
        stopTimer()
        isConnected = true
        watchIdleness()
        tunnel?.accept(stream: stream)
        tunnel?.markDirty()
    }

    override func ready(_ events: IOEvents) {
        if !isConnected {
            guard !isClosed, !events.isDisjoint(with: [.writable, .error, .hangup]) else { return }
            if let error = TCPSocket.pendingError(descriptor) {
                let target = record.destination.map { "\($0)" } ?? "the application"
                return refused(ConnectionFailure(.connect, "connection to \(target) failed: \(error)"))
            }
            connected()
        }
        super.ready(events)
    }

    override var mayPull: Bool { isConnected }

    /// 503 with the reason, so that the client's log says what went wrong here.
    private func refused(_ failure: ConnectionFailure) {
        if let tunnel {
            tunnel.detach(id: stream)
            tunnel.refuse(stream: stream, status: 503, reason: failure.description)
            tunnel.markDirty()
        }
        finish(failure, reset: true)
    }

    override func finished() { stopTimer() }

    private func stopTimer() {
        if let connectTimer { worker.loop.cancel(connectTimer) }
        connectTimer = nil
    }
}
