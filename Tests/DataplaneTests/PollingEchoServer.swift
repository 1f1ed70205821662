import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit

/// An echo server on one thread, for thousands of connections.
final class PollingEchoServer: Sendable {
    private let loop: EventLoop

    init(on host: TestNetwork.Host, port: UInt16) throws {
        let loop = try EventLoop()
        self.loop = loop
        let listener = try host.namespace.run {
            try TCPSocket.listen(on: SocketAddress(.unspecified(.v6), port: port), dualStack: true)
        }.release()
        loop.execute { try? loop.register(EchoListener(loop: loop, descriptor: listener), .readable) }
        _ = try SystemThread(name: "test-echo") { loop.run() }
    }

    /// Its sockets go with it.
    func stop() { loop.stop() }
}

/// On a loop as long as it is registered there, and closed with it.
private class LoopSocket: Pollable {
    final unowned let loop: EventLoop

    init(loop: EventLoop, descriptor: Int32) {
        self.loop = loop
        super.init(descriptor: descriptor)
    }

    deinit { close(descriptor) }
}

private final class EchoListener: LoopSocket {
    override func ready(_ events: IOEvents) {
        while let socket = try? TCPSocket.accept(descriptor) {
            try? loop.register(EchoSocket(loop: loop, descriptor: socket.release()), .readable)
        }
    }
}

/// What it is sent at once is short enough to be sent back at once.
private final class EchoSocket: LoopSocket {
    override func ready(_ events: IOEvents) {
        withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 8) { buffer in
            while true {
                switch TCPSocket.receive(descriptor, into: buffer) {
                case .bytes(let count):
                    _ = TCPSocket.send(descriptor, UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                case .wouldBlock: return
                case .end, .failed: return loop.deregister(self)
                }
            }
        }
    }
}
