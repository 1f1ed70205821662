import Glibc
public import IPAddressing
public import LinuxNetworking

/// TCP for tests, in steps that block for at most two seconds.
public enum TestConnection {
    public static let patience: Int32 = 2_000

    /// Connects and waits for the outcome; throws the connection's error, ETIMEDOUT after `milliseconds`.
    public static func connect(
        to address: SocketAddress, options: TCPSocket.ConnectOptions = .init(), milliseconds: Int32 = patience
    ) throws -> OwnedDescriptor {
        let socket = try TCPSocket.connect(to: address, options: options)
        guard wait(socket.raw, POLLOUT, milliseconds) else {
            throw Errno(code: ETIMEDOUT, call: "connect to \(address)")
        }
        if let error = TCPSocket.pendingError(socket.raw) { throw error }
        return socket
    }

    /// ETIMEDOUT when nobody comes.
    public static func accept(_ listener: borrowing OwnedDescriptor, milliseconds: Int32 = patience) throws
        -> OwnedDescriptor
    {
        guard wait(listener.raw, POLLIN, milliseconds), let accepted = try TCPSocket.accept(listener.raw) else {
            throw Errno(code: ETIMEDOUT, call: "accept")
        }
        return accepted
    }

    public static func send(_ text: String, over socket: borrowing OwnedDescriptor) throws {
        let bytes = Array(text.utf8)
        if case .failed(let code) = bytes.withUnsafeBytes({ TCPSocket.send(socket.raw, $0) }) {
            throw Errno(code: code, call: "send")
        }
    }

    /// What arrives first; "" at the end, `nil` when nothing comes.
    public static func receive(
        from socket: borrowing OwnedDescriptor, milliseconds: Int32 = patience
    ) throws -> String? {
        guard wait(socket.raw, POLLIN, milliseconds) else { return nil }
        var buffer = [UInt8](repeating: 0, count: 4096)
        switch buffer.withUnsafeMutableBytes({ TCPSocket.receive(socket.raw, into: $0) }) {
        case .bytes(let count): return String(decoding: buffer[..<count], as: UTF8.self)
        case .end: return ""
        case .wouldBlock: return nil
        case .failed(let code): throw Errno(code: code, call: "receive")
        }
    }

    private static func wait(_ descriptor: Int32, _ events: Int32, _ milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
        return poll(&entry, 1, milliseconds) == 1
    }
}
