import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import Testing

@testable import Dataplane

@Suite(
    "Without descriptors", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(1))
)
struct ExhaustionTests {
    /// Echoes on 8080 until a connection begins with Q. A process of its own: this one's descriptors are to be the proxies'.
    private static let server = """
        import asyncio
        async def main():
            end = asyncio.Event()
            async def serve(reader, writer):
                try:
                    while data := await reader.read(4096):
                        if data[:1] == b"Q": end.set()
                        writer.write(data)
                        await writer.drain()
                except OSError:
                    pass
                writer.close()
            await asyncio.start_server(serve, "0.0.0.0", 8080)
            await end.wait()
        asyncio.run(main())
        """

    /// 80 connections at once, then 20 one after the other; prints how many of each were answered.
    private static func client(_ target: SocketAddress) -> String {
        """
        import socket, time
        def ask(sock, patience):
            sock.settimeout(patience)
            try:
                return sock.recv(1) == b"x"
            except OSError:
                return False
        def dial():
            sock = socket.create_connection(("\(target.ip)", \(target.port)), timeout=5)
            sock.sendall(b"x")
            return sock
        time.sleep(0.5)
        crowd = [dial() for _ in range(80)]
        time.sleep(1)
        many = sum(ask(sock, 0.02) for sock in crowd)
        for sock in crowd: sock.close()
        time.sleep(0.5)
        few = 0
        for _ in range(20):
            with dial() as sock: few += ask(sock, 5)
        print(many, few)
        """
    }

    @Test("connections wait or are refused with the reason, those that live go on, and when some end others begin")
    func noDescriptors() async throws {
        let mesh = try await TestMesh()
        let target = SocketAddress(mesh.server.host.v4, port: 8080)
        let (clientHost, serverHost) = (mesh.client.host, mesh.server.host)
        async let served = TestProgram.onThread {
            try serverHost.shell("timeout -s KILL 30 /usr/bin/python3 -c '\(Self.server)' 2>&1")
        }
        let steady = try await connection(to: target, from: clientHost)
        async let counts = TestProgram.onThread {
            try clientHost.shell("timeout -s KILL 30 /usr/bin/python3 -c '\(Self.client(target))' 2>&1")
        }
        try await Task.sleep(for: .milliseconds(200))
        let before = try Usage.descriptors()
        let limit = try setLimit(before + 40)
        defer { _ = try? setLimit(limit) }
        let output = try await counts
        try await steady.send([7])
        #expect(try await steady.receive(1) == [7])
        _ = try setLimit(limit)
        let answered = output.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
        try #require(answered.count == 2, "\(output)")
        // Two descriptors for each, one at either proxy, and a few that were free beside the 40. There is no least number: both proxies
        // draw on the same descriptors, and the client's may have taken all of them before the server's comes to its turn.
        #expect(answered[0] <= 24, "\(output)")
        #expect(answered[1] == 20, "\(output)")
        for pod in [mesh.client, mesh.server] { try await pod.settle(connections: 3) }
        #expect(try Usage.descriptors() <= before + 4)
        let refusals = (mesh.client.records.all + mesh.server.records.all).compactMap(\.failure)
        #expect(refusals.contains { $0.kind == .overload && $0.description.contains("Too many open files") })
        let fresh = try await TestProgram.connect(from: clientHost, to: target)
        try await fresh.send(Array("Q".utf8))
        #expect(try await fresh.receive(1) == Array("Q".utf8))
        #expect(try await served == "")
        try await mesh.end()
    }

    /// The server takes a moment to begin: until then a connection ends at once, in order or by a reset.
    private func connection(to target: SocketAddress, from host: TestNetwork.Host) async throws -> TestClient {
        for _ in 0..<1000 {
            if let client = try? await TestProgram.connect(from: host, to: target) {
                try await client.send([1])
                if try await client.receive(1) == [1] { return client }
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw Errno(code: ETIMEDOUT, call: "wait for the server")
    }

    /// Returns the limit that was.
    private func setLimit(_ count: Int) throws -> Int {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        try #require(getrlimit(resource, &limit) == 0)
        let present = Int(limit.rlim_cur)
        limit.rlim_cur = rlim_t(count)
        try #require(setrlimit(resource, &limit) == 0)
        return present
    }
}
