import Glibc
import IPAddressing
import LinuxNetworking
import NamespaceKit
import SPIFFE
import SwiftASN1
import Testing
import X509

@testable import Dataplane

/// Clients that we did not write, from a host outside the mesh, with a certificate of the mesh in their hands.
@Suite(
    "A foreign client at 15008", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(2))
)
struct ForeignClientTests {
    @Test("with a certificate: openssl negotiates TLS 1.3 with ALPN h2, and no resumption")
    func openssl() async throws {
        let mesh = try await TestMesh()
        let files = try ClientFiles(mesh.trust)
        let output = try await files.run(
            "openssl s_client -connect \(mesh.server.host.v4):15008 -alpn h2 -cert client.pem -key client.key -CAfile root.pem",
            on: mesh.outsider)
        #expect(output.contains("TLSv1.3"))
        #expect(output.contains("ALPN protocol: h2"))
        #expect(output.contains("Verify return code: 0 (ok)"))
        #expect(!output.contains("New Session Ticket"))
        try await mesh.end()
    }

    @Test("without a certificate: openssl's handshake fails, and the proxy says why")
    func opensslWithoutCertificate() async throws {
        let mesh = try await TestMesh()
        let files = try ClientFiles(mesh.trust)
        let output = try await files.run(
            "openssl s_client -connect \(mesh.server.host.v4):15008 -alpn h2 -CAfile root.pem -ign_eof",
            on: mesh.outsider)
        #expect(output.contains("certificate required"))
        let record = try #require(try await mesh.server.records.first { $0.failure != nil })
        #expect(record.failure?.kind == .tls)
        #expect(record.failure?.description.contains("certificate") == true)
        try await mesh.end()
    }

    @Test(
        "TLS 1.2, another ALPN, and a cipher of neither: openssl is refused",
        arguments: ["-tls1_2", "-alpn http/1.1", "-alpn http/1.0"])
    func opensslRefused(option: String) async throws {
        let mesh = try await TestMesh()
        let files = try ClientFiles(mesh.trust)
        let alpn = option.hasPrefix("-alpn") ? "" : "-alpn h2"
        let output = try await files.run(
            "openssl s_client -connect \(mesh.server.host.v4):15008 \(option) \(alpn) -cert client.pem -key client.key",
            on: mesh.outsider)
        #expect(output.contains("alert"))
        #expect(try await mesh.server.records.first { $0.failure?.kind == .tls } != nil)
        try await mesh.end()
    }

    @Test("nghttp reads our settings and windows, and is told that a GET is no CONNECT")
    func nghttp() async throws {
        let mesh = try await TestMesh()
        let files = try ClientFiles(mesh.trust)
        let output = try await files.run(
            "nghttp -nv --no-verify-peer --cert=client.pem --key=client.key https://\(mesh.server.host.v4):15008/",
            on: mesh.outsider)
        for expected in [
            "The negotiated protocol: h2", "SETTINGS_MAX_CONCURRENT_STREAMS(0x03):200",
            "SETTINGS_INITIAL_WINDOW_SIZE(0x04):\(4 << 20)", "SETTINGS_MAX_FRAME_SIZE(0x05):\(1 << 20)",
            // What is added to the 65 535 of every connection.
            "window_size_increment=\((16 << 20) - 65535)", ":status: 400", "x-culvert-reason: ",
        ] {
            #expect(output.contains(expected), "\(expected) is missing in:\n\(output)")
        }
        try await mesh.end()
    }

    @Test("h2load with 20 connections and no certificate is not served, and nothing of it is left")
    func h2load() async throws {
        let mesh = try await TestMesh()
        let files = try ClientFiles(mesh.trust)
        let output = try await files.run(
            "h2load -n 400 -c 20 -m 50 --connect-to=\(mesh.server.host.v4):15008 https://\(mesh.server.host.v4):15008/",
            on: mesh.outsider)
        #expect(output.contains("400 total"))
        #expect(output.contains(" 0 succeeded"))
        try await mesh.server.settle(connections: 0)
        try await mesh.end()
    }

    @Test("Python's h2 opens a CONNECT and reaches the application", arguments: [IPAddress.Family.v4, .v6])
    func pythonConnect(family: IPAddress.Family) async throws {
        let mesh = try await TestMesh()
        let server = try TestProgram.echoServer(on: mesh.server.host, port: 8080)
        let files = try ClientFiles(mesh.trust)
        let target = SocketAddress(mesh.server.host.address(family), port: 8080)
        let output = try await files.connect(to: target.ip, authority: "\(target)", on: mesh.outsider)
        #expect(output == "status 200 reason -\nbody hello through the tunnel\nended\n")
        let record = try #require(try await mesh.server.records.first { $0.failure == nil })
        #expect(record.sourceIdentity?.description == "spiffe://td.test/ns/shop/sa/client")
        withExtendedLifetime(server) {}
        try await mesh.end()
    }

    @Test("Python's h2 is refused, with status and reason, for what is not this pod's")
    func pythonRefused() async throws {
        let mesh = try await TestMesh()
        let files = try ClientFiles(mesh.trust)
        let (own, other) = (mesh.server.host.v4, mesh.client.host.v4)
        for (authority, expected) in [
            ("\(other):8080", "status 400 reason ip mismatch: \(other) != \(own)\n"),
            ("web.shop:8080", "status 400 reason no valid authority pseudo header: web.shop:8080\n"),
            ("\(own):15008", "status 503 reason attempted recursive call to ourselves\n"),
            ("127.0.0.1:15001", "status 400 reason ip mismatch: 127.0.0.1 != \(own)\n"),
        ] {
            #expect(try await files.connect(to: own, authority: authority, on: mesh.outsider) == expected)
        }
        #expect(mesh.server.records.all.count == 4)
        try await mesh.end()
    }
}

/// A client's certificate, key and trust root as files, and a Python program that speaks HBONE with somebody else's HTTP/2.
private final class ClientFiles: Sendable {
    private let directory: String

    init(_ trust: TestTrust) throws {
        directory = "/tmp/cvt-foreign-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        mkdir(directory, 0o700)
        let svid = try trust.svid(namespace: "shop", serviceAccount: "client")
        let bundle = try #require(try trust.bundles[trust.trustDomain])
        try write("client.pem", try svid.leaf.serializeAsPEM().pemString)
        try write("client.key", try svid.privateKey.serializeAsPEM().pemString)
        try write("root.pem", bundle.pem())
        try write("connect.py", ClientFiles.program)
    }

    deinit { _ = TestProgram.shell("rm -rf \(directory)") }

    private func write(_ name: String, _ text: String) throws {
        let file = try #require(fopen("\(directory)/\(name)", "w"))
        fputs(text + "\n", file)
        fclose(file)
    }

    func run(_ command: String, on host: TestNetwork.Host) async throws -> String {
        let directory = directory
        return try await TestProgram.onThread {
            try host.shell("cd \(directory) && timeout -s KILL 10 \(command) </dev/null 2>&1")
        }
    }

    /// What the program printed: status and reason, then, if it was 200, what came back.
    func connect(to address: IPAddress, authority: String, on host: TestNetwork.Host) async throws -> String {
        try await run("/usr/bin/python3 connect.py \(address) '\(authority)'", on: host)
    }

    private static let program = """
        import socket, ssl, sys
        import h2.config, h2.connection, h2.events

        address, authority = sys.argv[1:]
        context = ssl.create_default_context(cafile="root.pem")
        context.check_hostname = False
        context.load_cert_chain("client.pem", "client.key")
        context.set_alpn_protocols(["h2"])
        tls = context.wrap_socket(socket.create_connection((address, 15008)))
        assert tls.version() == "TLSv1.3" and tls.selected_alpn_protocol() == "h2"
        # This library's check of outgoing headers does not know that CONNECT has no :path.
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, [(":method", "CONNECT"), (":authority", authority)])
        tls.sendall(connection.data_to_send())
        body, ended = b"", False
        while not ended:
            received = tls.recv(65536)
            if not received:
                break
            for event in connection.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived):
                    headers = dict(event.headers)
                    print("status", headers[":status"], "reason", headers.get("x-culvert-reason", "-"))
                    if headers[":status"] != "200":
                        sys.exit()
                    connection.send_data(stream, b"hello through the tunnel", end_stream=True)
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamEnded):
                    ended = True
            tls.sendall(connection.data_to_send())
        print("body", body.decode())
        print("ended" if ended else "cut off")
        """
}
