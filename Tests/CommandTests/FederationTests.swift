import Authority
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import IPAddressing
import Logging
import MeshAPI
import SPIFFE
import SwiftASN1
import Synchronization
import Testing
import WorkloadIdentity
import X509

@testable import culvert

/// Two authorities that publish their bundles to each other, and a node that learns of both.
@Suite("Federated trust domains", .timeLimit(.minutes(2)))
final class FederationTests {
    private let directory: String
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    init() {
        directory = "/tmp/cvt-federation-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        mkdir(directory, 0o700)
    }

    deinit {
        for domain in ["east.test", "west.test"] {
            for name in [
                "authority.sqlite", "authority.sqlite-wal", "authority.sqlite-shm", "authority.sqlite.lock",
                "authority.key",
            ] { unlink("\(directory)/\(domain)/\(name)") }
            rmdir("\(directory)/\(domain)")
        }
        for name in ["federated.json", "west.pem", "token"] { unlink("\(directory)/\(name)") }
        rmdir(directory)
    }

    private struct Registry: PodRegistry {
        private let web = RegisteredPod(uid: "a", node: "node-a", namespace: "shop", serviceAccount: "web")

        func pod(uid: String) -> RegisteredPod? { uid == "a" ? web : nil }
        func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod? { nil }
    }

    private func authority(_ name: String) async throws -> CertificateAuthority {
        let path = "\(directory)/\(name)"
        mkdir(path, 0o700)
        let home = try AuthorityDirectory(path: path)
        return try await CertificateAuthority.open(
            .init(trustDomain: try TrustDomain(name)), store: home.store, seal: home.seal, pods: Registry())
    }

    /// Of the pod on node-a, after that has joined; and of the node.
    private func svids(_ authority: CertificateAuthority) async throws -> (pod: X509SVID, node: X509SVID) {
        let token = try await authority.createJoinToken(node: NodeName("node-a")).token.text
        let (forNode, forPod) = (try IdentityRequest(uri: "spiffe://a/b"), try IdentityRequest(uri: "spiffe://a/b"))
        let node = try await authority.attestNode(token: token, csr: der(forNode.csr), source: "test")
        let pod = try await authority.issue(
            podUID: "a", csr: der(forPod.csr), caller: NodeCaller(id: node.id, serial: node.record.serial))
        return (
            try X509SVID(certificates: pod.certificates, privateKey: forPod.key),
            try X509SVID(certificates: node.certificates, privateKey: forNode.key)
        )
    }

    private func der(_ csr: CertificateSigningRequest) throws -> [UInt8] {
        try csr.serializeAsPEM().derBytes
    }

    private func federation(
        _ relationships: String..., publish: @escaping @Sendable (TrustBundleSet) -> Void
    ) throws -> Federation {
        try Federation(
            relationships.map { try FederationRelationship($0) }, of: TrustDomain("east.test"),
            file: FederatedBundleFile(directory: directory),
            pace: .init(least: .milliseconds(10), most: .milliseconds(20)), logger: logger, publish: publish)
    }

    private func eventually(_ condition: () async -> Bool) async -> Bool {
        for _ in 0..<1000 {
            if await condition() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return await condition()
    }

    /// Serves what `document` holds under the authority's own SVID while `body` runs.
    private func publishing(
        _ authority: CertificateAuthority, _ document: Box, _ body: (_ relationship: String) async throws -> Void
    ) async throws {
        let identity = try ReplaceableIdentity(try await authority.servingIdentity())
        let server = try await BundleEndpointServer.listening(
            at: IPAddressing.SocketAddress(.loopback(.v4), port: 0), identity: identity
        ) { document.text }
        let task = Task { try await server.run() }
        defer { task.cancel() }
        let domain = authority.trustDomain
        try TextFile.write("\(directory)/west.pem", authority.bundle.current.pem())
        try await body(
            "\(domain)=https://127.0.0.1:\(server.port)/,id=spiffe://\(domain)/culvert/authority,bundle=\(directory)/west.pem"
        )
    }

    final class Box: Sendable {
        private let value: Mutex<String>
        init(_ text: String) { value = Mutex(text) }
        var text: String { value.withLock { $0 } }
        func set(_ text: String) { value.withLock { $0 = text } }
    }

    @Test("a node learns the other domain's roots with its own, and believes its members by them alone")
    func distribution() async throws {
        let (east, west) = (try await authority("east.test"), try await authority("west.test"))
        let member = try await svids(west).pod
        let node = try await svids(east)
        try await publishing(west, Box(west.bundle.current.jwks())) { relationship in
            let federation = try federation(relationship) { east.bundle.publish(federated: $0) }
            let following = Task { await federation.run() }
            let identity = try ReplaceableIdentity(try await east.servingIdentity())
            let transport = try AuthorityTransport.authority(
                at: IPAddressing.SocketAddress(.loopback(.v4), port: 0), identity: identity,
                trustDomain: east.trustDomain,
                verifier: { PeerVerifier(bundles: TrustBundleSet([east.bundle.current])) }, logger: logger)
            let server = GRPCServer(transport: transport, services: [AuthorityService(authority: east)])
            let serving = Task { try await server.serve() }
            let port = try #require(try await transport.listeningAddress.ipv4?.port)
            let client = try AuthorityClient(
                address: IPAddressing.SocketAddress(.loopback(.v4), port: UInt16(port)), trustDomain: east.trustDomain,
                svid: node.node, bundles: TrustBundleSet([east.bundle.current]))
            let running = Task { try await client.run() }
            let held = Mutex<TrustUpdate?>(nil)
            let stream = Task {
                try await client.followBundle {
                    BundleReport(sequence: 0, version: "test", leaves: [])
                } onUpdate: { update in
                    held.withLock { $0 = update }
                }
            }
            #expect(await eventually { held.withLock { $0?.federated.count } == 1 })
            let bundles = try #require(held.withLock { $0?.bundles })
            let verifier = PeerVerifier(bundles: bundles)
            for svid in [member, node.pod] {
                guard
                    case .verified(let peer) = verifier.verify(
                        chainDER: try svid.certificatesDER(), role: .client, now: Date())
                else {
                    Issue.record("\(svid.id) is not believed")
                    continue
                }
                #expect(peer.id == svid.id)
            }
            #expect(bundles[west.trustDomain]?.authorities == west.bundle.current.authorities)
            #expect(bundles[east.trustDomain]?.authorities == east.bundle.current.authorities)
            stream.cancel()
            running.cancel()
            following.cancel()
            east.bundle.finish()
            server.beginGracefulShutdown()
            _ = await (stream.result, running.result, serving.result)
            await following.value
        }
    }

    @Test("the last good bundle outlives bad documents, the publisher and a restart; a newer one takes its place")
    func lastKnownGood() async throws {
        let west = try await authority("west.test")
        let good = west.bundle.current
        let document = Box(good.jwks())
        let published = Mutex<[TrustBundleSet]>([])
        var relationship = ""
        try await publishing(west, document) { text in
            relationship = text
            let federation = try federation(text) { set in published.withLock { $0.append(set) } }
            let running = Task { await federation.run() }
            #expect(
                await eventually { published.withLock { $0.last?[west.trustDomain]?.authorities } == good.authorities })
            // Each is fetched many times.
            for bad in ["", "{}", "{\"spiffe_sequence\":0,\"keys\":[]}", "<html>"] {
                document.set(bad)
                try await Task.sleep(for: .milliseconds(100))
            }
            #expect(published.withLock { $0.count } == 2)
            let next = try TrustBundle(
                trustDomain: west.trustDomain, authorities: good.authorities + [try IstioAuthority("next").root],
                sequence: good.sequence + 1)
            document.set(next.jwks())
            #expect(await eventually { published.withLock { $0.last?[west.trustDomain]?.sequence } == next.sequence })
            running.cancel()
            await running.value
        }
        // The publisher is away now.
        let restarted = Mutex<TrustBundleSet?>(nil)
        let again = try federation(relationship) { set in restarted.withLock { $0 = set } }
        #expect(restarted.withLock { $0?[west.trustDomain]?.sequence } == good.sequence + 1)
        let running = Task { await again.run() }
        try await Task.sleep(for: .milliseconds(100))
        #expect(restarted.withLock { $0?[west.trustDomain]?.authorities.count } == 2)
        running.cancel()
        await running.value
        // Configured no more, believed no more.
        _ = try federation { set in restarted.withLock { $0 = set } }
        #expect(restarted.withLock { $0 } == TrustBundleSet())
    }

    @Test("a kept file that is broken is said so and believed in nothing")
    func brokenFile() throws {
        try TextFile.write("\(directory)/federated.json", "{\"trust_domains\":{\"west.test\":{}}}")
        let published = Mutex<TrustBundleSet?>(nil)
        _ = try federation("west.test=https://west.test/") { set in published.withLock { $0 = set } }
        #expect(published.withLock { $0 } == TrustBundleSet())
    }

    @Test(
        "an argument that says too little, or too much, is refused with what to write",
        arguments: [
            "", "west.test", "=https://a/", "west.test=", "west.test=http://a/", "West=https://a/",
            "west.test=https://u@a/", "west.test=https://a/,id=spiffe://west.test/a", "west.test=https://a/,bundle=f",
            "west.test=https://a/,id=west,bundle=f", "west.test=https://a/,roots=f,id=spiffe://west.test/a,bundle=f",
            "west.test=https://a/,roots=f,roots=g", "west.test=https://a/,colour=red", "west.test=https://a/,roots",
        ])
    func arguments(text: String) {
        #expect(throws: CommandFailure.self) { try FederationRelationship(text) }
    }

    @Test("the domain is the operator's word; both profiles are understood")
    func relationships() throws {
        let web = try FederationRelationship("west.test=https://bundles.example:8443/west?v=1")
        #expect(web.trustDomain.name == "west.test")
        #expect(web.url.description == "https://bundles.example:8443/west?v=1")
        #expect(web.profile == .web(roots: nil))
        #expect(try FederationRelationship("west.test=https://a/,roots=f.pem").profile == .web(roots: "f.pem"))
        let spiffe = try FederationRelationship("west.test=https://a/,bundle=f,id=spiffe://hub.test/x")
        #expect(spiffe.profile == .spiffe(try SPIFFEID("spiffe://hub.test/x"), bundle: "f"))
    }

    @Test("one's own domain, and a domain twice, are refused at the start")
    func twice() {
        #expect(throws: CommandFailure.self) { try federation("east.test=https://a/") { _ in } }
        #expect(throws: CommandFailure.self) {
            try federation("west.test=https://a/", "west.test=https://b/") { _ in }
        }
    }
}
