import Glibc
import IPAddressing
import LinuxNetworking
import Testing

@testable import culvert

@Suite("The demo's programs")
struct DemoProgramTests {
    /// A connection over loopback that a server of the demo serves at the other end.
    private func connection(to program: DemoTopology.Program) throws -> BlockingSocket {
        let listener = try BlockingSocket.listen(port: 0)
        let address = SocketAddress(.loopback(.v4), port: try #require(listener.local).port)
        _ = try SystemThread(name: "test-server") {
            if let socket = try? listener.accept() { try? DemoServer(program: program, name: "web").serve(socket) }
        }
        return try BlockingSocket.connect(to: address, limit: .seconds(5))
    }

    @Test("HTTP: greets the caller by its address")
    func http() throws {
        let reply = try HTTPProbe(address: SocketAddress("127.0.0.1:80")!).run(over: connection(to: .http))
        #expect(reply.status == 200)
        #expect(reply.peerSeen == IPAddress("127.0.0.1"))
        #expect(reply.body == "Hello from web. I see you as 127.0.0.1.\n")
        #expect(reply.bytes > 200)
    }

    @Test("HTTP: refuses what is not GET")
    func httpPost() throws {
        let socket = try connection(to: .http)
        try socket.write("POST / HTTP/1.1\r\n\r\n")
        var reader = LineReader(socket)
        #expect(try reader.line() == "HTTP/1.1 405 Method Not Allowed")
    }

    @Test("echo: a conversation goes on until it is ended, and that is no failure")
    func echo() throws {
        let conversation = try EchoConversation(over: connection(to: .echo))
        let end = ContinuousClock.now + .seconds(5)
        while conversation.state.linesEchoed < 3, .now < end { usleep(5000) }
        conversation.end()
        #expect(conversation.state.linesEchoed >= 3)
        usleep(50_000)
        #expect(conversation.state.broken == nil)
    }

    @Test("echo: a conversation notices that its peer is gone")
    func echoBroken() throws {
        // It takes the first line for nonsense, and ends.
        let conversation = try EchoConversation(over: connection(to: .sink))
        let end = ContinuousClock.now + .seconds(5)
        while conversation.state.broken == nil, .now < end { usleep(5000) }
        #expect(conversation.state.broken != nil)
        conversation.end()
    }

    @Test(
        "bulk: both ends agree about every byte, of blocks and of parts of one", arguments: [0, 1, 1 << 20, 3_000_001])
    func bulk(bytes: Int) throws {
        try BulkTransfer(bytes: bytes).run(over: connection(to: .sink))
    }

    @Test("bulk: a client notices bytes that are not those sent")
    func bulkDiffers() throws {
        let socket = try connection(to: .echo)
        // The echo server answers with what it got, and no digest.
        #expect(throws: BulkTransfer.Failure.self) { try BulkTransfer(bytes: 10).run(over: socket) }
    }

    @Test("lines come out whole however they arrive, and bytes after them")
    func lines() throws {
        let listener = try BlockingSocket.listen(port: 0)
        let address = SocketAddress(.loopback(.v6), port: try #require(listener.local).port)
        let writer = try BlockingSocket.connect(to: address, limit: .seconds(5))
        let accepted = try listener.accept()
        _ = try SystemThread(name: "test-writer") {
            for byte in "one\r\n\ntwo\nrest".unicodeScalars { try? writer.write(String(byte)) }
            writer.finishWriting()
        }
        var reader = LineReader(accepted)
        #expect(try reader.line() == "one")
        #expect(try reader.line() == "")
        #expect(try reader.line() == "two")
        var rest: [UInt8] = []
        while rest.count < 4 { _ = try reader.bytes(atMost: 4 - rest.count) { rest += $0 } }
        #expect(rest == Array("rest".utf8))
        #expect(try reader.line() == nil)
    }
}
