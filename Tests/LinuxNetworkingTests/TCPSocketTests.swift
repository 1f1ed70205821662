import Glibc
import IPAddressing
import LinuxNetworking
import Testing

private func loopback(_ family: IPAddress.Family, _ port: UInt16 = 0) -> SocketAddress {
    SocketAddress(.loopback(family), port: port)
}

private func wait(_ descriptor: Int32, _ events: Int32) {
    var poll = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    _ = Glibc.poll(&poll, 1, 2_000)
}

private func accepted(by listener: Int32) throws -> OwnedDescriptor {
    guard let accepted = try TCPSocket.accept(listener) else { throw Errno(code: EAGAIN, call: "accept") }
    return accepted
}

@Suite("TCP sockets")
struct TCPSocketTests {
    @Test("connect, accept, talk, half-close", arguments: [IPAddress.Family.v4, .v6])
    func conversation(_ family: IPAddress.Family) throws {
        let listener = try TCPSocket.listen(on: loopback(family), dualStack: false)
        let address = try #require(TCPSocket.localAddress(listener.raw))
        #expect(throws: Errno(code: EAGAIN, call: "accept")) { _ = try accepted(by: listener.raw) }
        let client = try TCPSocket.connect(to: address)
        wait(client.raw, POLLOUT)
        #expect(TCPSocket.pendingError(client.raw) == nil)
        wait(listener.raw, POLLIN)
        let server = try accepted(by: listener.raw)
        #expect(TCPSocket.peerAddress(server.raw) == TCPSocket.localAddress(client.raw))
        try TCPSocket.setNoDelay(server.raw)
        try TCPSocket.setKeepAlive(server.raw, idle: .seconds(180), interval: .seconds(180), count: 9)

        var buffer = [UInt8](repeating: 0, count: 16)
        #expect(buffer.withUnsafeMutableBytes { TCPSocket.receive(server.raw, into: $0) } == .wouldBlock)
        #expect([1, 2, 3].withUnsafeBytes { TCPSocket.send(client.raw, $0) } == .bytes(24))
        TCPSocket.shutdownWrite(client.raw)
        wait(server.raw, POLLIN)
        #expect(buffer.withUnsafeMutableBytes { TCPSocket.receive(server.raw, into: $0) } == .bytes(16))
        #expect(buffer.withUnsafeMutableBytes { TCPSocket.receive(server.raw, into: $0) } == .bytes(8))
        #expect(buffer.withUnsafeMutableBytes { TCPSocket.receive(server.raw, into: $0) } == .end)
    }

    @Test("a dual-stack listener names IPv4 peers as IPv4")
    func mapped() throws {
        let listener = try TCPSocket.listen(on: SocketAddress(.unspecified(.v6), port: 0), dualStack: true)
        let port = try #require(TCPSocket.localAddress(listener.raw)).port
        let client = try TCPSocket.connect(to: loopback(.v4, port))
        wait(listener.raw, POLLIN)
        let server = try accepted(by: listener.raw)
        #expect(TCPSocket.localAddress(server.raw) == loopback(.v4, port))
        #expect(TCPSocket.peerAddress(server.raw) == TCPSocket.localAddress(client.raw))
    }

    @Test("a refused connection is a pending error, reported once")
    func refused() throws {
        let port: UInt16
        do {
            let listener = try TCPSocket.listen(on: loopback(.v4), dualStack: false)
            port = try #require(TCPSocket.localAddress(listener.raw)).port
        }
        let client = try TCPSocket.connect(to: loopback(.v4, port))
        wait(client.raw, POLLOUT)
        #expect(TCPSocket.pendingError(client.raw)?.code == ECONNREFUSED)
        #expect(TCPSocket.pendingError(client.raw) == nil)
    }

    @Test("an aborted connection ends with a reset")
    func aborted() throws {
        let listener = try TCPSocket.listen(on: loopback(.v4), dualStack: false)
        let client = try TCPSocket.connect(to: try #require(TCPSocket.localAddress(listener.raw)))
        wait(listener.raw, POLLIN)
        do {
            let server = try accepted(by: listener.raw)
            TCPSocket.abort(server.raw)
        }
        wait(client.raw, POLLIN)
        var buffer = [UInt8](repeating: 0, count: 1)
        guard case .failed(let error) = buffer.withUnsafeMutableBytes({ TCPSocket.receive(client.raw, into: $0) })
        else {
            Issue.record("the connection ended without an error")
            return
        }
        #expect(error == ECONNRESET)
    }

    @Test("ports come from the range that was asked for", .enabled(if: geteuid() == 0, "needs root: SO_MARK"))
    func portRange() throws {
        let listener = try TCPSocket.listen(on: loopback(.v4), dualStack: false)
        let address = try #require(TCPSocket.localAddress(listener.raw))
        let options = TCPSocket.ConnectOptions(
            mark: 0x53a, source: IPAddress("127.0.0.9"), localPortRange: 20_000...20_009)
        let client = try TCPSocket.connect(to: address, options: options)
        let source = try #require(TCPSocket.localAddress(client.raw))
        #expect(source.ip == IPAddress("127.0.0.9"))
        #expect((20_000...20_009).contains(source.port))
        #expect(TCPSocket.mark(client.raw) == 0x53a)
    }

    @Test("a source of the other family is refused")
    func otherFamily() {
        let options = TCPSocket.ConnectOptions(source: .loopback(.v6))
        #expect { _ = try TCPSocket.connect(to: loopback(.v4, 1), options: options) } throws: {
            ($0 as? Errno)?.code == EAFNOSUPPORT
        }
    }

    @Test("errors name the call and the reason")
    func errorText() {
        let error = Errno(code: EADDRINUSE, call: "bind [::]:15008")
        #expect(error.description == "bind [::]:15008: Address already in use")
        #expect(Errno(code: EMFILE, call: "accept").isExhaustion)
        #expect(!error.isExhaustion)
    }
}
