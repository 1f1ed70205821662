import Crypto
import FoundationEssentials
import IPAddressing
import NIOCore
import NIOPosix
import NIOSSL
import SPIFFE
import SwiftASN1
import Synchronization
import Testing
import X509

@testable import MeshAPI

private typealias SocketAddress = IPAddressing.SocketAddress

/// Real TLS on loopback, both profiles of SPIFFE Federation.
@Suite("The bundle endpoint", .timeLimit(.minutes(2)))
struct BundleEndpointTests {
    private let authority: TestAuthority
    private let loopback = SocketAddress(.loopback(.v4), port: 0)

    init() throws { authority = try TestAuthority(demo) }

    /// Serves `document` while `body` runs.
    private func publishing(
        _ document: String, as identity: ReplaceableIdentity, _ body: (UInt16) async throws -> Void
    ) async throws {
        let server = try await BundleEndpointServer.listening(at: loopback, identity: identity) { document }
        let task = Task { try await server.run() }
        defer { task.cancel() }
        try await body(server.port)
    }

    private func endpoint(
        _ port: UInt16, path: String = "/", host: String = "127.0.0.1", _ profile: BundleEndpoint.Profile
    ) throws -> BundleEndpoint {
        BundleEndpoint(url: try #require(HTTPSURL("https://\(host):\(port)\(path)")), profile: profile)
    }

    private func own(_ id: String = "/culvert/authority") throws -> BundleEndpoint.Profile {
        .spiffe(try SPIFFEID(trustDomain: demo, path: id), TrustBundleSet([try authority.bundle]))
    }

    @Test("https_spiffe: the server is recognised by its SVID, and the document comes as it is")
    func spiffe() async throws {
        let document = try authority.bundle.jwks()
        let identity = try ReplaceableIdentity(authority.svid("/culvert/authority"))
        try await publishing(document, as: identity) { port in
            let fetched = try await endpoint(port, own()).fetch()
            #expect(try TrustBundle(trustDomain: demo, jwks: fetched) == authority.bundle)
            #expect(try await endpoint(port, path: "/?a=b", own()).fetch() == fetched)
            let other = await #expect(throws: BundleFetchError.self) {
                try await endpoint(port, own("/culvert/other")).fetch()
            }
            #expect(other?.description.contains("not spiffe://culvert.demo/culvert/other") == true)
            let stranger = TrustBundleSet([try TestAuthority(demo).bundle])
            let id = try SPIFFEID(trustDomain: demo, path: "/culvert/authority")
            let unknown = await #expect(throws: BundleFetchError.self) {
                try await endpoint(port, .spiffe(id, stranger)).fetch()
            }
            #expect(unknown?.description.contains("no valid chain") == true, "\(unknown?.description ?? "")")
            let path = await #expect(throws: BundleFetchError.self) {
                try await endpoint(port, path: "/other", own()).fetch()
            }
            #expect(path?.description.contains("status 404") == true)
        }
    }

    @Test("https_web: the server is recognised by the name in the URL, and a new certificate counts at once")
    func web() async throws {
        let (web, other) = (try WebServer(), try WebServer())
        let identity = try ReplaceableIdentity(pem: web.pem([.dnsName("localhost")]))
        try await publishing("{}", as: identity) { port in
            let roots = BundleEndpoint.Profile.web(rootsPEM: web.root.pem())
            #expect(try await endpoint(port, host: "localhost", roots).fetch() == Array("{}".utf8))
            for (host, profile) in [
                ("127.0.0.1", roots), ("localhost", .web(rootsPEM: other.root.pem())),
                ("localhost", .web(rootsPEM: nil)),
            ] {
                await #expect(throws: BundleFetchError.self) { try await endpoint(port, host: host, profile).fetch() }
            }
            let address = ASN1OctetString(contentBytes: [127, 0, 0, 1])
            try identity.replace(with: web.pem([.ipAddress(address)]))
            #expect(try await endpoint(port, roots).fetch() == Array("{}".utf8))
            // A key that is not the certificate's is refused, and what was there stays.
            var mixed = try web.pem([.dnsName("localhost")])
            mixed.key = try web.pem([.dnsName("localhost")]).key
            #expect(throws: (any Error).self) { try identity.replace(with: mixed) }
            #expect(try await endpoint(port, roots).fetch() == Array("{}".utf8))
        }
    }

    struct Answer: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let text: String
        /// nil: taken.
        let refused: String?
    }

    static let canned: [Answer] = [
        Answer(testDescription: "good", text: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", refused: nil),
        Answer(testDescription: "until the end", text: "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", refused: nil),
        Answer(
            testDescription: "a redirection to the same server",
            text: "HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n", refused: nil),
        Answer(
            testDescription: "a redirection in a circle",
            text: "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", refused: "leads on and on"),
        Answer(
            testDescription: "a redirection out of TLS",
            text: "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n", refused: "no https"),
        Answer(
            testDescription: "a redirection to nowhere", text: "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n",
            refused: "no https"),
        Answer(
            testDescription: "an error", text: "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", refused: "status 503"),
        Answer(
            testDescription: "an oversize document",
            text: "HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + String(repeating: " ", count: 300_000),
            refused: ""),
        Answer(
            testDescription: "half of a document", text: "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", refused: ""),
        Answer(testDescription: "no HTTP", text: "SSH-2.0-OpenSSH_9.2\r\n", refused: ""),
        Answer(testDescription: "nothing", text: "", refused: ""),
    ]

    @Test("what a server may answer, and what it may not", arguments: canned)
    func answered(answer: Answer) async throws {
        let web = try WebServer()
        let address = ASN1OctetString(contentBytes: [127, 0, 0, 1])
        let good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
        let server = try await CannedServer(web.pem([.ipAddress(address)])) { request in
            request.hasPrefix("GET /there ") ? good : answer.text
        }
        let fetch = try endpoint(server.port, .web(rootsPEM: web.root.pem()))
        if let refused = answer.refused {
            let error = await #expect(throws: BundleFetchError.self) { try await fetch.fetch() }
            #expect(refused.isEmpty || error?.description.contains(refused) == true, "\(error?.description ?? "")")
        } else {
            #expect(try await fetch.fetch() == Array("{}".utf8))
        }
        try await server.end()
    }

    @Test("nobody there is said so")
    func nobody() async throws {
        await #expect(throws: BundleFetchError.self) { try await endpoint(1, .web(rootsPEM: nil)).fetch() }
    }
}

/// A certificate authority as the Web has them.
private struct WebServer {
    let root: Certificate
    private let key = Certificate.PrivateKey(P256.Signing.PrivateKey())

    init() throws {
        let name = try DistinguishedName { CommonName("web root") }
        root = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: key.publicKey, notValidBefore: Date() - 60,
            notValidAfter: Date() + 3600, issuer: name, subject: name,
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                Critical(KeyUsage(keyCertSign: true))
            },
            issuerPrivateKey: key)
    }

    func pem(_ names: [GeneralName]) throws -> ReplaceableIdentity.PEM {
        let leafKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let leaf = try Certificate(
            version: .v3, serialNumber: .init(), publicKey: leafKey.publicKey, notValidBefore: Date() - 60,
            notValidAfter: Date() + 600, issuer: root.subject, subject: DistinguishedName { CommonName("server") },
            extensions: Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                SubjectAlternativeNames(names)
                try ExtendedKeyUsage([.serverAuth])
            },
            issuerPrivateKey: key)
        return .init(certificates: leaf.pem(), key: try leafKey.serializeAsPEM().pemString)
    }
}

/// Answers each connection's first bytes with what it is told, and closes.
private struct CannedServer {
    private let channel: any Channel

    init(_ pem: ReplaceableIdentity.PEM, answer: @escaping @Sendable (String) -> String) async throws {
        let chain = try NIOSSLCertificate.fromPEMBytes(Array(pem.certificates.utf8))
        let key = try NIOSSLPrivateKey(bytes: Array(pem.key.utf8), format: .pem)
        let context = try NIOSSLContext(
            configuration: .makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key)))
        channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
                    try channel.pipeline.syncOperations.addHandler(Answerer(answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    var port: UInt16 { UInt16(channel.localAddress?.port ?? 0) }

    func end() async throws { try await channel.close() }

    private final class Answerer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let answer: @Sendable (String) -> String

        init(_ answer: @escaping @Sendable (String) -> String) { self.answer = answer }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let text = answer(String(buffer: unwrapInboundIn(data)))
            let channel = context.channel
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text))).whenComplete { _ in
                channel.close(promise: nil)
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
