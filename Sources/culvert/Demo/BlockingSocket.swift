import Glibc
import IPAddressing
import LinuxNetworking

/// A TCP connection as an ordinary program has it: calls block, bytes are bytes, and nothing knows of any tunnel.
///
/// It belongs to the network namespace that the calling thread was in when it was made.
final class BlockingSocket: Sendable {
    private let owned: OwnedDescriptor

    private init(adopting descriptor: consuming OwnedDescriptor) throws(Errno) {
        let flags = fcntl(descriptor.raw, F_GETFL)
        guard flags >= 0, fcntl(descriptor.raw, F_SETFL, flags & ~O_NONBLOCK) == 0 else {
            throw Errno(code: errno, call: "make socket blocking")
        }
        owned = descriptor
    }

    /// Reads and writes of the connection fail with EAGAIN when they wait longer than `limit`, connecting with ETIMEDOUT, or with
    /// ECANCELED when nobody wants it any more.
    static func connect(
        to address: SocketAddress, limit: Duration, isWanted: () -> Bool = { true }
    ) throws(Errno) -> BlockingSocket {
        let descriptor = try TCPSocket.connect(to: address)
        var waiting = pollfd(fd: descriptor.raw, events: Int16(POLLOUT), revents: 0)
        let end = ContinuousClock.now + limit
        while poll(&waiting, 1, 100) != 1 {
            guard isWanted() else { throw Errno(code: ECANCELED, call: "connect to \(address)") }
            guard .now < end else { throw Errno(code: ETIMEDOUT, call: "connect to \(address)") }
        }
        if let failure = TCPSocket.pendingError(descriptor.raw) {
            throw Errno(code: failure.code, call: "connect to \(address)")
        }
        let socket = try BlockingSocket(adopting: descriptor)
        try socket.set(limit: limit)
        return socket
    }

    /// On every address of the namespace, IPv4 and IPv6.
    static func listen(port: UInt16) throws(Errno) -> BlockingSocket {
        let address = SocketAddress(.unspecified(.v6), port: port)
        let options = TCPSocket.ListenOptions(reusePort: false)
        return try BlockingSocket(adopting: TCPSocket.listen(on: address, dualStack: true, options: options))
    }

    func accept() throws(Errno) -> BlockingSocket {
        while true {
            if let accepted = try TCPSocket.accept(owned.raw) { return try BlockingSocket(adopting: accepted) }
        }
    }

    var local: SocketAddress? { TCPSocket.localAddress(owned.raw) }
    var peer: SocketAddress? { TCPSocket.peerAddress(owned.raw) }

    /// 0 at the end.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        while true {
            let count = recv(owned.raw, buffer.baseAddress, buffer.count, 0)
            if count >= 0 { return count }
            guard errno == EINTR else { throw Errno(code: errno, call: "read") }
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
        var left = bytes
        while !left.isEmpty {
            let count = send(owned.raw, left.baseAddress, left.count, Int32(MSG_NOSIGNAL))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw Errno(code: errno, call: "write") }
            left = UnsafeRawBufferPointer(rebasing: left.dropFirst(count))
        }
    }

    func write(_ text: String) throws(Errno) {
        let bytes = Array(text.utf8)
        let result = bytes.withUnsafeBytes { buffer in Result { () throws(Errno) in try write(buffer) } }
        try result.get()
    }

    func finishWriting() { shutdown(owned.raw, Int32(SHUT_WR)) }

    /// Wakes whoever reads it.
    func shutDown() { shutdown(owned.raw, Int32(SHUT_RDWR)) }

    private func set(limit: Duration) throws(Errno) {
        let (seconds, attoseconds) = limit.components
        var time = timeval(tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            guard setsockopt(owned.raw, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size)) == 0 else {
                throw Errno(code: errno, call: "set time limit of socket")
            }
        }
    }
}
