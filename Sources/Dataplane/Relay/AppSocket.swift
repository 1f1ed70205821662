import Glibc
import LinuxNetworking

/// A TCP socket towards an application, a plaintext peer or a plaintext client, with what it would not take yet.
///
/// Subclasses decide where bytes come from; this class writes them, keeps the half-closed states and closes once.
class AppSocket: Pollable {
    unowned let pod: PodProxy
    unowned let worker: Worker
    private var pending = ByteQueue()
    /// Memory of what is pending, in bytes.
    private(set) var heldBytes = 0
    private(set) var bytesRead: UInt64 = 0
    private(set) var bytesWritten: UInt64 = 0
    /// Edge-triggered: true until a read said EAGAIN.
    private(set) var mayRead = true
    private var mayWrite = true
    /// There is an end or an error behind what can be read.
    private var sawPeerClose = false
    private(set) var hasReadEnd = false
    private var shouldShutDown = false
    private(set) var hasShutDown = false
    private(set) var isClosed = false

    init(pod: PodProxy, descriptor: consuming OwnedDescriptor) {
        self.pod = pod
        worker = pod.worker
        super.init(descriptor: descriptor.release())
    }

    final func register() throws(Errno) {
        try worker.loop.register(self, [.readable, .writable, .peerClosed])
    }

    final var hasPending: Bool { !pending.isEmpty }

    override func ready(_ events: IOEvents) {
        guard !isClosed else { return }
        if !events.isDisjoint(with: [.peerClosed, .hangup, .error]) { sawPeerClose = true }
        if !events.isDisjoint(with: [.readable, .peerClosed, .hangup, .error]) {
            mayRead = true
            becameReadable()
        }
        if !isClosed, events.contains(.writable) {
            mayWrite = true
            writePending()
        }
    }

    /// There is something to read, an end, or an error.
    func becameReadable() {}

    /// The socket took `count` bytes that had been written to it.
    func took(_ count: Int) {}

    /// The socket broke: recv or send failed.
    func broke(_ error: Errno) {}

    /// Everything written was taken, and if the end was announced it was passed on.
    func wroteAll() {}

    final func read(into buffer: UnsafeMutableRawBufferPointer) -> TransferResult {
        guard !hasReadEnd else { return .end }
        guard mayRead else { return .wouldBlock }
        return note(TCPSocket.receive(descriptor, into: buffer), room: buffer.count)
    }

    /// One vectored read.
    final func read(into pieces: UnsafeMutableBufferPointer<iovec>) -> TransferResult {
        guard !hasReadEnd else { return .end }
        guard mayRead else { return .wouldBlock }
        return note(TCPSocket.receive(descriptor, into: pieces), room: pieces.reduce(0) { $0 &+ $1.iov_len })
    }

    private func note(_ result: TransferResult, room: Int) -> TransferResult {
        switch result {
        case .bytes(let count):
            bytesRead &+= UInt64(count)
            // The socket is empty: what comes now is another event.
            if count < room, !sawPeerClose { mayRead = false }
        case .wouldBlock: mayRead = false
        case .end: hasReadEnd = true
        case .failed: break
        }
        return result
    }

    /// Writes at once what the socket takes, and keeps the rest until it can be written.
    final func write(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
        withUnsafeTemporaryAllocation(of: iovec.self, capacity: 1) { pieces in
            pieces[0] = iovec(iov_base: UnsafeMutableRawPointer(mutating: base), iov_len: bytes.count)
            write(pieces, count: bytes.count)
        }
    }

    /// The same for `count` bytes in pieces.
    final func write(_ pieces: UnsafeMutableBufferPointer<iovec>, count: Int) {
        guard !isClosed else { return }
        var sent = 0
        if pending.isEmpty {
            guard let taken = sendOnce(pieces) else { return }
            sent = taken
        }
        if sent < count { keep(pieces, from: sent) }
        if sent > 0 { took(sent) }
    }

    private func keep(_ pieces: UnsafeMutableBufferPointer<iovec>, from sent: Int) {
        var skip = sent
        for piece in pieces {
            let bytes = UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
            if skip < bytes.count { pending.append(UnsafeRawBufferPointer(rebasing: bytes[skip...])) }
            skip = max(0, skip &- bytes.count)
        }
        noteHeld()
    }

    private func noteHeld() {
        let bytes = pending.capacity
        guard bytes != heldBytes else { return }
        worker.bounds.holdsMore(bytes - heldBytes)
        heldBytes = bytes
    }

    /// The socket is closed as soon as both directions have ended, so that FIN needs no call of its own.
    var closesAtEnd: Bool { false }

    /// No more will be written: FIN after what is pending.
    final func writeEnd() {
        guard !shouldShutDown else { return }
        shouldShutDown = true
        if pending.isEmpty { finishWriting() }
    }

    private func writePending() {
        guard !pending.isEmpty else { return }
        // Not from inside: what breaks gives the pending bytes back.
        let (sent, failure) = pending.withBytes { send($0) }
        bytesWritten &+= UInt64(sent)
        if let failure { return broke(failure) }
        pending.removeFirst(sent)
        noteHeld()
        if sent > 0 { took(sent) }
        if pending.isEmpty && !isClosed { finishWriting() }
    }

    private func finishWriting() {
        if shouldShutDown && !hasShutDown {
            hasShutDown = true
            // Where both directions have ended the close that follows says so.
            if !closesAtEnd { TCPSocket.shutdownWrite(descriptor) }
        }
        wroteAll()
    }

    /// `nil` when the socket broke.
    private func sendOnce(_ pieces: UnsafeMutableBufferPointer<iovec>) -> Int? {
        guard mayWrite else { return 0 }
        switch TCPSocket.send(descriptor, pieces) {
        case .bytes(let count):
            bytesWritten &+= UInt64(count)
            return count
        case .wouldBlock, .end:
            mayWrite = false
            return 0
        case .failed(let code):
            broke(Errno(code: code, call: "send"))
            return nil
        }
    }

    /// Fewer bytes than given when the socket is full, or broke.
    private func send(_ bytes: UnsafeRawBufferPointer) -> (sent: Int, failure: Errno?) {
        var sent = 0
        while mayWrite, sent < bytes.count {
            switch TCPSocket.send(descriptor, UnsafeRawBufferPointer(rebasing: bytes[sent...])) {
            case .bytes(let count): sent += count
            case .wouldBlock, .end: mayWrite = false
            case .failed(let code): return (sent, Errno(code: code, call: "send"))
            }
        }
        return (sent, nil)
    }

    /// Closes the socket, in order or with a reset.
    final func closeSocket(reset: Bool) {
        guard !isClosed else { return }
        isClosed = true
        worker.loop.deregisterForClose(self)
        pending.removeAll()
        noteHeld()
        if reset { TCPSocket.abort(descriptor) }
        _ = OwnedDescriptor(adopting: descriptor)
        descriptor = -1
    }
}
