import CLinux
import Glibc
import Synchronization

/// A message of a `SeqpacketSocket`.
public struct Packet: Sendable {
    public let bytes: [UInt8]
    /// The file descriptor that was passed along (SCM_RIGHTS).
    public let descriptor: PassedDescriptor?
}

/// A file descriptor that came with a message; closed when nobody takes it.
public final class PassedDescriptor: Sendable {
    private let descriptor: Mutex<Int32?>

    init(adopting descriptor: Int32) { self.descriptor = Mutex(descriptor) }

    /// The first caller owns it; later ones get `nil`.
    public func take() -> OwnedDescriptor? {
        guard let taken = descriptor.withLock({ $0.take() }) else { return nil }
        return OwnedDescriptor(adopting: taken)
    }

    deinit { _ = take() }
}

/// The process at the other end when it connected, or when it began to listen (SO_PEERCRED).
public struct PeerCredentials: Equatable, Sendable {
    public let pid: Int32
    public let uid: UInt32
    public let gid: UInt32
}

/// A connection over which whole messages pass, each with at most one file descriptor (unix(7), SOCK_SEQPACKET).
///
/// Every operation exists twice: blocking, for a thread of the caller's own, and `async`, which waits on a thread of
/// the socket's, one per direction. In each direction one operation at a time; the directions are independent.
/// Errors: ETIMEDOUT at a deadline, ECANCELED for a cancelled task, EMSGSIZE for a longer message than allowed, EPROTO
/// for one with too many descriptors; after the last two the conversation is out of step and the socket is of no use.
public final class SeqpacketSocket: Sendable {
    /// In bytes, both ways.
    public static let packetBytesMax = 64 << 10

    private let descriptor: OwnedDescriptor
    private let readiness: DescriptorWait
    private let room: DescriptorWait
    private let receiving = BlockingQueue(name: "seqpacket-recv")
    private let sending = BlockingQueue(name: "seqpacket-send")

    /// `descriptor` is a connected socket of this kind, non-blocking.
    public init(adopting descriptor: consuming OwnedDescriptor) throws(Errno) {
        readiness = try DescriptorWait()
        room = try DescriptorWait()
        self.descriptor = descriptor
    }

    /// ENOENT and ECONNREFUSED when nobody listens there.
    public convenience init(connectingTo path: String) throws(Errno) {
        let socket = try SeqpacketSocket.open()
        try checked(clinux_unix_connect(socket.raw, path), "connect to \(path)")
        try self.init(adopting: socket)
    }

    static func open() throws(Errno) -> OwnedDescriptor {
        let result = clinux_socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0)
        return OwnedDescriptor(adopting: try checked(result, "open Unix socket"))
    }

    public func peerCredentials() throws(Errno) -> PeerCredentials {
        var found = clinux_credentials()
        try checked(clinux_peer_credentials(descriptor.raw, &found), "SO_PEERCRED")
        return PeerCredentials(pid: found.pid, uid: found.uid, gid: found.gid)
    }

    /// Ends both directions for both sides: whoever waits here or there finds the end. The descriptor itself is closed
    /// with the last reference.
    public func close() { _ = shutdown(descriptor.raw, Int32(SHUT_RDWR)) }

    // MARK: - Blocking

    /// `bytes` are one message, not empty; the passed descriptor stays the caller's.
    public func send(
        _ bytes: [UInt8], passing passed: Int32? = nil, deadline: ContinuousClock.Instant? = nil
    ) throws(Errno) {
        try send(bytes, passed, deadline, nil)
    }

    /// `nil` when the peer has closed.
    public func receive(deadline: ContinuousClock.Instant? = nil) throws(Errno) -> Packet? {
        try receive(deadline, nil)
    }

    // MARK: - Async

    /// As above, without blocking the task's thread. The passed descriptor stays open until this returns.
    public func send(
        _ bytes: [UInt8], passing passed: Int32? = nil, deadline: ContinuousClock.Instant? = nil
    ) async throws(Errno) {
        try await sending.run(cancelling: room) { [self] (cancellation) throws(Errno) in
            try send(bytes, passed, deadline, cancellation)
        }
    }

    /// As above, without blocking the task's thread.
    public func receive(deadline: ContinuousClock.Instant? = nil) async throws(Errno) -> Packet? {
        try await receiving.run(cancelling: readiness) { [self] (cancellation) throws(Errno) in
            try receive(deadline, cancellation)
        }
    }

    // MARK: -

    private func send(
        _ bytes: [UInt8], _ passed: Int32?, _ deadline: ContinuousClock.Instant?,
        _ cancellation: DescriptorWait.Cancellation?
    ) throws(Errno) {
        // An empty packet cannot be told from the end.
        precondition(!bytes.isEmpty, "a packet has at least one byte")
        guard bytes.count <= SeqpacketSocket.packetBytesMax else {
            throw Errno(code: EMSGSIZE, call: "send a packet of \(bytes.count) bytes")
        }
        while true {
            let result = clinux_send_packet(descriptor.raw, bytes, bytes.count, passed ?? -1)
            guard result == -Int(EAGAIN) else {
                try checked(Int32(result), "send packet")
                return
            }
            try room.wait(for: descriptor.raw, Int16(POLLOUT), until: deadline, cancellation, "send packet")
        }
    }

    private func receive(
        _ deadline: ContinuousClock.Instant?, _ cancellation: DescriptorWait.Cancellation?
    ) throws(Errno) -> Packet? {
        while true {
            var passed: Int32 = -1
            var result = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: SeqpacketSocket.packetBytesMax) { buffer, count in
                result = clinux_receive_packet(descriptor.raw, buffer.baseAddress, buffer.count, &passed)
                count = max(0, result)
            }
            if result == -Int(EAGAIN) {
                try readiness.wait(for: descriptor.raw, Int16(POLLIN), until: deadline, cancellation, "receive packet")
                continue
            }
            try checked(Int32(result), "receive packet")
            let companion = passed < 0 ? nil : PassedDescriptor(adopting: passed)
            return result == 0 ? nil : Packet(bytes: bytes, descriptor: companion)
        }
    }
}

extension BlockingQueue {
    /// Runs `body` on the queue's thread while the task waits; cancelling the task calls `wait` off.
    func run<R: Sendable>(
        cancelling wait: DescriptorWait,
        _ body: @escaping @Sendable (DescriptorWait.Cancellation) throws(Errno) -> R
    ) async throws(Errno) -> R {
        let cancellation = DescriptorWait.Cancellation()
        let result: Result<R, Errno> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                do throws(Errno) {
                    try enqueue {
                        do throws(Errno) {
                            continuation.resume(returning: .success(try body(cancellation)))
                        } catch {
                            continuation.resume(returning: .failure(error))
                        }
                    }
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        } onCancel: {
            wait.cancel(cancellation)
        }
        return try result.get()
    }
}
