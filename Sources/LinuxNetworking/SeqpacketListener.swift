import CLinux
import Glibc
import Synchronization

/// A Unix socket at a path of the file system, readable and writable by its owner only, that takes `SeqpacketSocket`s.
///
/// The file is removed by `close`, or with the last reference.
public final class SeqpacketListener: Sendable {
    private let descriptor: OwnedDescriptor
    private let arrival: DescriptorWait
    private let accepting = BlockingQueue(name: "seqpacket-accept")
    public let path: String
    private let isClosed = Atomic(false)

    /// Takes the place of a socket nobody listens on any more; EADDRINUSE when somebody does, or the file is not a socket.
    public init(path: String, backlog: Int32 = 16) throws(Errno) {
        let socket = try SeqpacketSocket.open()
        var result = clinux_unix_bind(socket.raw, path, 0o600)
        if result == -EADDRINUSE, try SeqpacketListener.isAbandoned(path) {
            unlink(path)
            result = clinux_unix_bind(socket.raw, path, 0o600)
        }
        try checked(result, "listen at \(path)")
        try checked(clinux_listen(socket.raw, backlog), "listen at \(path)")
        arrival = try DescriptorWait()
        descriptor = socket
        self.path = path
    }

    deinit { close() }

    /// Removes the file, and refuses whoever had found it: once.
    public func close() {
        guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        unlink(path)
        _ = shutdown(descriptor.raw, Int32(SHUT_RDWR))
    }

    /// Blocks the calling thread. Errors as those of `SeqpacketSocket`.
    public func accept(deadline: ContinuousClock.Instant? = nil) throws(Errno) -> SeqpacketSocket {
        try accept(deadline, nil)
    }

    /// As above, waiting on a thread of the listener's.
    public func accept(deadline: ContinuousClock.Instant? = nil) async throws(Errno) -> SeqpacketSocket {
        try await accepting.run(cancelling: arrival) { [self] (cancellation) throws(Errno) in
            try accept(deadline, cancellation)
        }
    }

    private func accept(
        _ deadline: ContinuousClock.Instant?, _ cancellation: DescriptorWait.Cancellation?
    ) throws(Errno) -> SeqpacketSocket {
        while true {
            let result = clinux_accept(descriptor.raw)
            if result == -EINTR || result == -ECONNABORTED { continue }
            if result == -EAGAIN {
                try arrival.wait(for: descriptor.raw, Int16(POLLIN), until: deadline, cancellation, "accept at \(path)")
                continue
            }
            let accepted = OwnedDescriptor(adopting: try checked(result, "accept at \(path)"))
            return try SeqpacketSocket(adopting: accepted)
        }
    }

    private static func isAbandoned(_ path: String) throws(Errno) -> Bool {
        let probe = try SeqpacketSocket.open()
        return clinux_unix_connect(probe.raw, path) == -ECONNREFUSED
    }
}
