import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Synchronization

/// An ordinary program in a host's network namespace: plain blocking sockets that know nothing of a mesh.
enum TestProgram {
    /// Accepts on the port until the returned value is released; each connection is served on a thread of its own.
    static func server(
        on host: TestNetwork.Host, port: UInt16, _ serve: @escaping @Sendable (BlockingSocket, SocketAddress) -> Void
    ) throws -> TestServer {
        try TestServer(listener: listen(on: host, port: port), serve: serve)
    }

    private static func listen(on host: TestNetwork.Host, port: UInt16) throws -> OwnedDescriptor {
        try host.namespace.run {
            try TCPSocket.listen(on: SocketAddress(.unspecified(.v6), port: port), dualStack: true)
        }
    }

    static func echoServer(on host: TestNetwork.Host, port: UInt16) throws -> TestServer {
        try server(on: host, port: port) { socket, _ in
            while case let bytes = socket.receive(65536), !bytes.isEmpty { socket.send(bytes) }
            socket.finish()
        }
    }

    /// Writes for ever.
    static func endlessServer(on host: TestNetwork.Host, port: UInt16) throws -> TestServer {
        let block = [UInt8](repeating: 0x5a, count: 1 << 18)
        return try server(on: host, port: port) { socket, _ in while socket.send(block) {} }
    }

    /// Closes every connection at once.
    static func curtServer(on host: TestNetwork.Host, port: UInt16) throws -> TestServer {
        try TestServer(listener: listen(on: host, port: port), isThreaded: false) { _, _ in }
    }

    /// Reads nothing, until its client is gone.
    static func deafServer(on host: TestNetwork.Host, port: UInt16) throws -> TestServer {
        try server(on: host, port: port) { socket, _ in socket.awaitHangUp() }
    }

    /// Connects from the host, as a program there would.
    static func connect(from host: TestNetwork.Host, to address: SocketAddress) async throws -> TestClient {
        try await onThread {
            try host.namespace.run { TestClient(BlockingSocket(try TestConnection.connect(to: address))) }
        }
    }

    /// The shell's exit status.
    @discardableResult
    static func shell(_ command: String) -> Int32 { system(command) }

    /// Runs what blocks on a thread of its own: the pool that runs tests has as few threads as the machine has cores.
    static func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            do {
                _ = try SystemThread(name: "test-program") { continuation.resume(with: Result(catching: body)) }
            } catch {
                continuation.resume(throwing: error)
            }
        }
    }
}

/// A client's side of a connection.
final class TestClient: Sendable {
    private let socket: BlockingSocket

    init(_ socket: BlockingSocket) { self.socket = socket }

    func send(_ bytes: [UInt8]) async throws { try await TestProgram.onThread { [socket] in _ = socket.send(bytes) } }

    /// Empty at the end, and when the connection broke or nothing came.
    func receive(_ most: Int) async throws -> [UInt8] {
        try await TestProgram.onThread { [socket] in socket.receive(most) }
    }

    /// Throws what the connection broke with.
    func received(_ most: Int) async throws -> [UInt8] {
        try await TestProgram.onThread { [socket] in try socket.received(most) }
    }

    func receiveAll() async throws -> [UInt8] { try await TestProgram.onThread { [socket] in socket.receiveAll() } }

    func finish() { socket.finish() }
}

final class TestServer: Sendable {
    private let listener: Int32

    init(
        listener: consuming OwnedDescriptor, isThreaded: Bool = true,
        serve: @escaping @Sendable (BlockingSocket, SocketAddress) -> Void
    ) throws {
        let descriptor = listener.release()
        self.listener = descriptor
        _ = try SystemThread(name: "test-server") {
            while true {
                var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                guard poll(&entry, 1, -1) == 1, entry.revents == Int16(POLLIN) else { return }
                // Who comes may be gone by now.
                guard let socket = try? TCPSocket.accept(descriptor), let peer = TCPSocket.peerAddress(socket.raw)
                else { continue }
                let blocking = BlockingSocket(socket)
                guard isThreaded else {
                    serve(blocking, peer)
                    continue
                }
                _ = try? SystemThread(name: "test-serve") { serve(blocking, peer) }
            }
        }
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
    }
}

/// A TCP connection with calls that wait, for at most ten seconds.
final class BlockingSocket: Sendable {
    private let socket: OwnedDescriptor

    init(_ socket: consuming OwnedDescriptor) { self.socket = socket }

    var descriptor: Int32 { socket.raw }

    private func wait(_ events: Int32) -> Bool {
        var entry = pollfd(fd: socket.raw, events: Int16(events), revents: 0)
        return poll(&entry, 1, 10_000) == 1
    }

    /// Empty at the end, and when the connection broke or nothing came.
    func receive(_ most: Int) -> [UInt8] { (try? received(most)) ?? [] }

    /// Throws what the connection broke with.
    func received(_ most: Int) throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: most)
        while wait(POLLIN) {
            switch buffer.withUnsafeMutableBytes({ TCPSocket.receive(socket.raw, into: $0) }) {
            case .bytes(let count): return Array(buffer[..<count])
            case .end: return []
            case .wouldBlock: continue
            case .failed(let code): throw Errno(code: code, call: "receive")
            }
        }
        throw Errno(code: ETIMEDOUT, call: "receive")
    }

    func receiveAll() -> [UInt8] {
        var all: [UInt8] = []
        while case let bytes = receive(1 << 18), !bytes.isEmpty { all += bytes }
        return all
    }

    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool { bytes.withUnsafeBytes(send) }

    /// `false` when the connection broke, or took nothing for ten seconds.
    func send(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var sent = 0
        while sent < bytes.count, wait(POLLOUT) {
            switch TCPSocket.send(socket.raw, UnsafeRawBufferPointer(rebasing: bytes[sent...])) {
            case .bytes(let count): sent += count
            case .wouldBlock, .end: continue
            case .failed: return false
            }
        }
        return sent == bytes.count
    }

    /// The close that follows is RST.
    func reset() { TCPSocket.abort(socket.raw) }

    func finish() { TCPSocket.shutdownWrite(socket.raw) }

    /// Until both ends have finished, or the peer reset the connection; for a minute at most.
    func awaitHangUp() {
        var entry = pollfd(fd: socket.raw, events: 0, revents: 0)
        poll(&entry, 1, 60_000)
    }
}
