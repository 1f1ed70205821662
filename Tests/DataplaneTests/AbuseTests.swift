import Glibc
import HBONE
import IPAddressing
import LinuxNetworking
import NamespaceKit
import SPIFFE
import Synchronization
import Testing

@testable import Dataplane

/// What anybody who can reach 15008 may try, thousands of times: refused, one line each, and nothing is left behind.
@Suite(
    "Abuse of 15008", .enabled(if: geteuid() == 0, "needs root: makes network namespaces"), .serialized,
    .timeLimit(.minutes(4))
)
struct AbuseTests {
    struct Abuse: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let count: Int
        /// Of one attempt.
        var each = 1
        let kind: ConnectionFailure.Kind
        /// In the failure's text.
        let reason: String
        let attempt: @Sendable (AbuseClient) throws -> Void
    }

    static let all = [
        Abuse(testDescription: "a port scan", count: 10_000, kind: .tls, reason: "closed the connection") { client in
            _ = try client.dial()
        },
        Abuse(testDescription: "HTTP/1 without TLS", count: 10_000, kind: .tls, reason: "TLS") { client in
            let socket = try client.dial()
            socket.send(Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
            while !socket.receive(4096).isEmpty {}
        },
        Abuse(testDescription: "garbage", count: 10_000, kind: .tls, reason: "TLS") { client in
            let socket = try client.dial()
            socket.send([0x16, 0x03, 0x01, 0xff, 0xff] + [UInt8](repeating: 0x41, count: 512))
            while !socket.receive(4096).isEmpty {}
        },
        Abuse(testDescription: "another trust domain", count: 10_000, kind: .tls, reason: "elsewhere.test") { client in
            client.handshake(client.foreign)
        },
        Abuse(
            testDescription: "no client certificate", count: 10_000, each: 250, kind: .tls, reason: "certificate"
        ) { client in
            try client.withoutCertificate(times: 250)
        },
        Abuse(testDescription: "another pod's address", count: 10_000, each: 50, kind: .denied, reason: "ip mismatch") {
            client in
            client.request(authority: "10.9.9.9:80", times: 50)
        },
    ]

    @Test("is refused, with one line each, and leaves no descriptor and no memory behind", arguments: all)
    func refused(_ abuse: Abuse) async throws {
        // Here each attempt is to be looked at: how they are limited is another test's.
        let mesh = try await TestMesh { configuration in
            configuration.limits.failedHandshakes = .init(burst: 1_000_000, perSecond: 1_000_000)
            configuration.limits.handshakesPerPeerMax = 512
        }
        let client = try AbuseClient(mesh)
        // The allocator reaches its high-water mark first, which is that of one batch.
        let warmUp = abuse.count / 4
        try await repeated(abuse, client, from: 0, to: warmUp, at: mesh.server)
        let (descriptors, memory) = (try Usage.descriptors(), try Usage.residentKiB())
        try await repeated(abuse, client, from: warmUp, to: warmUp + abuse.count, at: mesh.server)
        let refused = mesh.server.records.all.dropFirst(warmUp)
        #expect(refused.count == abuse.count)
        #expect(
            refused.allSatisfy {
                $0.failure?.kind == abuse.kind && $0.failure?.description.contains(abuse.reason) == true
            })
        #expect(try Usage.descriptors() <= descriptors + 4)
        // This test keeps the records: 1 KiB each at most. What leaked once per connection would be far more.
        #expect(try Usage.residentKiB() < memory + 8 * 1024 + abuse.count)
        try await mesh.end()
    }

    /// In batches, each of them over before the next: how many are open at once is not left to the scheduler.
    private func repeated(
        _ abuse: Abuse, _ client: AbuseClient, from start: Int, to end: Int, at pod: TestPod
    ) async throws {
        for batch in stride(from: start, to: end, by: 250) {
            try await TestProgram.onThread {
                for _ in 0..<(250 / abuse.each) { try abuse.attempt(client) }
            }
            try await pod.settle(records: batch + 250)
        }
    }
}

extension TestPod {
    /// Waits until so many records were written and nothing is open at this pod's proxy.
    fileprivate func settle(records count: Int) async throws {
        for _ in 0..<2000 {
            if records.all.count >= count, try await dataplane.connectionCount() == 0 { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("\(records.all.count) records of \(count), or connections stay open at \(name)")
    }
}

/// Dials the server's 15008 from outside the mesh.
final class AbuseClient: Sendable {
    private let host: TestNetwork.Host
    private let target: SocketAddress
    let ours: TLSContext
    let foreign: TLSContext

    init(_ mesh: TestMesh) throws {
        host = mesh.outsider
        target = SocketAddress(mesh.server.host.v4, port: 15008)
        ours = try AbuseClient.context(mesh.trust)
        foreign = try AbuseClient.context(TestTrust("elsewhere.test"))
    }

    private static func context(_ trust: TestTrust) throws -> TLSContext {
        let svid = try trust.svid(namespace: "shop", serviceAccount: "client")
        let id = svid.id
        return try TLSContext(
            role: .client, certificateChainDER: svid.certificatesDER(), privateKeyDER: svid.privateKeyDER()
        ) { _ in .accept(id) }
    }

    func dial() throws -> BlockingSocket {
        try host.namespace.run { BlockingSocket(try TestConnection.connect(to: target)) }
    }

    func handshake(_ context: TLSContext) {
        AbuseConnection(context, authority: nil, times: 0).talk(over: try? dial())
    }

    /// Python's TLS: ours has no client that would not present one.
    func withoutCertificate(times: Int) throws {
        let program = """
            import socket, ssl
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            for _ in range(\(times)):
                with socket.create_connection(("\(target.ip)", \(target.port))) as plain:
                    try:
                        context.wrap_socket(plain).recv(1)
                    except (ssl.SSLError, OSError):
                        pass
            """
        let output = try host.shell("/usr/bin/python3 -c '\(program)' 2>&1")
        if !output.isEmpty { throw Errno(code: EPROTO, call: output) }
    }

    func request(authority: String, times: Int) {
        AbuseConnection(ours, authority: authority, times: times).talk(over: try? dial())
    }
}

/// An HBONE client that asks so many times, and leaves when it was answered as often.
private final class AbuseConnection: HBONEConnection {
    private let authority: String?
    private let times: Int
    private var answered = 0

    init(_ context: TLSContext, authority: String?, times: Int) {
        self.authority = authority
        self.times = times
        super.init(role: .client, context: context)
    }

    func talk(over socket: BlockingSocket?) {
        guard let socket else { return }
        write(to: socket)
        while end == nil {
            let bytes = socket.receive(65536)
            if bytes.isEmpty { receiveEnd() }
            inputRoom.copyBytes(from: bytes)
            receive(bytes.count)
            inputDone()
            write(to: socket)
        }
    }

    private func write(to socket: BlockingSocket) {
        repeat {
            produce()
            while hasOutput {
                let output = withOutput { pieces in
                    pieces.flatMap { UnsafeRawBufferPointer(start: $0.iov_base, count: $0.iov_len) }
                }
                guard socket.send(output) else { return receiveEnd() }
                outputSent(output.count)
            }
        } while wantsProduce
    }

    override func established(_ peer: HBONEPeer) {
        guard let authority else { return }
        for _ in 0..<times { _ = connect(ConnectRequest(authority: authority)) }
    }

    override func closed(stream: Int32, code: UInt32) {
        answered += 1
        if answered == times { close() }
    }
}
