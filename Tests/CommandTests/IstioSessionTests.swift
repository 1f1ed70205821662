import Authority
import FoundationEssentials
import GRPCCore
import Glibc
import Logging
import MeshAPI
import Observability
import SPIFFE
import Synchronization
import Testing
import WorkloadIdentity
import X509

@testable import culvert

/// Our proxy's side of Istio's CreateCertificate, over real TLS connections.
@Suite("The proxy takes its identities by Istio's CreateCertificate", .timeLimit(.minutes(2)))
final class IstioSessionTests {
    private let directory: String
    private let identity: SPIFFEID
    private var tokenFile: String { "\(directory)/token" }
    private var rootsFile: String { "\(directory)/roots.pem" }

    init() throws {
        directory = "/tmp/cvt-istio-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        mkdir(directory, 0o700)
        identity = try SPIFFEID("spiffe://cluster.local/ns/shop/sa/web")
    }

    deinit {
        unlink(tokenFile)
        unlink(rootsFile)
        rmdir(directory)
    }

    private func session(
        _ server: HostPort, name: String? = "istiod.istio-system.svc",
        onTrust: @escaping @Sendable (TrustBundleSet) -> Void = { _ in }
    ) throws -> IstioSession {
        try IstioSession(
            settings: .init(
                trustDomain: identity.trustDomain, server: server, serverName: name, clusterID: "Kubernetes",
                tokenFile: tokenFile, rootsFile: rootsFile),
            readiness: Readiness(conditions: [ProxyNode.Condition.authority]),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, interval: .milliseconds(20),
            onTrust: onTrust)
    }

    private func issue(_ session: IstioSession, _ id: SPIFFEID? = nil) async throws -> X509SVID {
        let id = id ?? identity
        let asked = try IdentityRequest(uri: id.description)
        let chain = try await session.issue(podUID: "a", identity: id, csr: asked.csr, urgency: .firstUse)
        return try ReceivedSVID.check(chain, key: asked.key, identity: id, bundles: session.bundles, now: Date())
    }

    private func eventually(_ condition: () async -> Bool) async -> Bool {
        for _ in 0..<1000 {
            if await condition() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return await condition()
    }

    /// A stand-in for istiod with its own root for TLS, and a session to it, while `body` runs.
    private func withIstiod(_ body: (IstiodStandIn, HostPort, IstioAuthority) async throws -> Void) async throws {
        let (mesh, web) = (try IstioAuthority(), try IstioAuthority("web"))
        let istiod = IstiodStandIn(mesh, token: "one")
        try TextFile.write(tokenFile, "one\n")
        try TextFile.write(rootsFile, web.root.pem())
        let shown = try ReplaceableIdentity(pem: web.server([.dnsName("istiod.istio-system.svc")]))
        try await IstiodStandIn.serving(istiod, as: shown) { try await body(istiod, $0, web) }
    }

    @Test("an identity manager gets its leaf from istiod, and peers are verified by istiod's roots")
    func manager() async throws {
        try await withIstiod { istiod, server, _ in
            let trusted = Mutex<TrustBundleSet?>(nil)
            let session = try session(server) { set in trusted.withLock { $0 = set } }
            let published = Mutex<[X509SVID]>([])
            let manager = SVIDManager(
                issuer: session, bundles: { session.bundles },
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            ) { _, svid, _ in published.withLock { $0.append(svid) } }
            let tasks: [Task<Void, Never>] = [
                Task { _ = try? await session.run { _ in } }, Task { await manager.run() },
            ]
            await manager.hold(podUID: "a", identity: identity)
            #expect(await eventually { published.withLock { $0.count } >= 1 })
            let svid = try #require(published.withLock { $0.last })
            #expect(svid.id == identity)
            #expect(svid.certificates.count == 2)
            let verifier = PeerVerifier(bundles: try #require(trusted.withLock { $0 }))
            let verdict = verifier.verify(chainDER: try svid.certificatesDER(), role: .server, now: Date())
            guard case .verified(let peer) = verdict else {
                Issue.record("\(verdict)")
                return
            }
            #expect(peer.id == identity)
            #expect(istiod.state.withLock { $0.unlike } == [])
            for task in tasks { task.cancel() }
            for task in tasks { await task.value }
        }
    }

    @Test("a replaced token counts at the next call; a stale one is asked with again later, not given up")
    func tokenRotation() async throws {
        try await withIstiod { istiod, server, _ in
            let session = try session(server)
            _ = try await issue(session)
            istiod.state.withLock { $0.token = "two" }
            let error = await #expect(throws: IssuanceError.self) { try await issue(session) }
            #expect(error?.kind == .retry(after: nil))
            try TextFile.write(tokenFile, "two")
            _ = try await issue(session)
            for text in ["", " \n", "two words"] {
                try TextFile.write(tokenFile, text)
                await #expect(throws: IssuanceError.self) { try await issue(session) }
            }
            unlink(tokenFile)
            let missing = await #expect(throws: IssuanceError.self) { try await issue(session) }
            #expect(missing?.kind == .retry(after: nil))
        }
    }

    @Test("new roots of istiod are trusted beside those of the file, and the file's own changes are followed")
    func rootRotation() async throws {
        try await withIstiod { istiod, server, web in
            let trusted = Mutex<[Set<Certificate>]>([])
            let domain = identity.trustDomain
            let session = try session(server) { set in
                trusted.withLock { $0.append(Set(set[domain]?.authorities ?? [])) }
            }
            let running = Task { try? await session.run { _ in } }
            _ = try await issue(session)
            let old = istiod.state.withLock { $0.authority.root }
            #expect(Set(session.bundles[domain]?.authorities ?? []) == [old, web.root])
            let next = try IstioAuthority("next")
            istiod.state.withLock { $0.roots = [old, next.root] }
            _ = try await issue(session)
            #expect(trusted.withLock { $0.last } == [old, next.root, web.root])
            istiod.state.withLock { ($0.authority, $0.roots) = (next, [next.root]) }
            let svid = try await issue(session)
            #expect(trusted.withLock { $0.last } == [next.root, web.root])
            #expect(svid.certificates == [svid.leaf, next.intermediate])
            let other = try IstioAuthority("other")
            try PublishedFile.write(web.root.pem() + other.root.pem(), to: rootsFile, mode: 0o600)
            #expect(await eventually { trusted.withLock { $0.last } == [next.root, web.root, other.root] })
            // A broken file changes nothing.
            let count = trusted.withLock { $0.count }
            try PublishedFile.write("no roots", to: rootsFile, mode: 0o600)
            try await Task.sleep(for: .milliseconds(100))
            #expect(trusted.withLock { $0.count } == count)
            running.cancel()
            await running.value
        }
    }

    @Test("a server that the roots do not vouch for, or with another name, never sees the token")
    func impostors() async throws {
        try await withIstiod { istiod, server, web in
            try TextFile.write(rootsFile, try IstioAuthority("stranger").root.pem())
            let stranger = await #expect(throws: IssuanceError.self) { try await issue(session(server)) }
            #expect(stranger?.kind == .unreachable)
            try PublishedFile.write(web.root.pem(), to: rootsFile, mode: 0o600)
            for name in ["istiod.elsewhere.svc", nil] {
                let error = await #expect(throws: IssuanceError.self) { try await issue(session(server, name: name)) }
                #expect(error?.kind == .unreachable)
            }
            #expect(istiod.state.withLock { $0.granted } == [])
            _ = try await issue(session(server))
        }
    }

    @Test("an answer for another identity, and one whose chain the roots do not vouch for, are not used")
    func wrongAnswers() async throws {
        try await withIstiod { istiod, server, _ in
            let session = try session(server)
            istiod.state.withLock { $0.namesInstead = "spiffe://cluster.local/ns/shop/sa/other" }
            await #expect(throws: UnfitSVID.self) { try await issue(session) }
            istiod.state.withLock { ($0.namesInstead, $0.roots) = (nil, []) }
            await #expect(throws: IssuanceError.self) { try await issue(session) }
            let stranger = try IstioAuthority("stranger")
            istiod.state.withLock { $0.roots = [stranger.root] }
            await #expect(throws: UnfitSVID.self) { try await issue(session) }
        }
    }

    @Test("istiod away is unreachable, and reached when it is back; refusals are told apart")
    func failures() async throws {
        try await withIstiod { istiod, server, _ in
            let session = try session(server)
            istiod.state.withLock {
                $0.refusals = [
                    RPCError(code: .internalError, message: "CA_NOT_READY"),
                    RPCError(code: .invalidArgument, message: "TTL_ERROR"),
                ]
            }
            let notReady = await #expect(throws: IssuanceError.self) { try await issue(session) }
            #expect(notReady?.kind == .retry(after: nil))
            let invalid = await #expect(throws: IssuanceError.self) { try await issue(session) }
            #expect(invalid?.kind == .denied)
            _ = try await issue(session)
            let nobody = try #require(HostPort("127.0.0.1:1"))
            let error = await #expect(throws: IssuanceError.self) { try await issue(self.session(nobody)) }
            #expect(error?.kind == .unreachable)
        }
    }

    // MARK: Our own authority, both ways

    private struct Registry: PodRegistry {
        private let web = RegisteredPod(uid: "a", node: "node-a", namespace: "shop", serviceAccount: "web")

        func pod(uid: String) -> RegisteredPod? { uid == "a" ? web : nil }
        func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod? {
            (node, namespace, serviceAccount) == ("node-a", "shop", "web") ? web : nil
        }
    }

    @Test("the proxy's Istio side and the authority's understand each other, refusals and waiting times included")
    func ownAuthority() async throws {
        let home = try AuthorityDirectory(path: directory)
        defer {
            for name in ["authority.sqlite", "authority.sqlite-wal", "authority.sqlite-shm", "authority.sqlite.lock"] {
                unlink("\(directory)/\(name)")
            }
            unlink("\(directory)/authority.key")
        }
        var configuration = CertificateAuthority.Configuration(trustDomain: identity.trustDomain)
        configuration.servingNames = [.address([127, 0, 0, 1])]
        let authority = try await CertificateAuthority.open(
            configuration, store: home.store, seal: home.seal, pods: Registry())
        try TextFile.write(tokenFile, try await authority.createJoinToken(node: NodeName("node-a")).token.text)
        try TextFile.write(rootsFile, authority.bundle.current.pem())
        let service = IstioCertificateService(
            authority: authority, authenticator: TokenNodeAuthenticator(authority: authority))
        let shown = try ReplaceableIdentity(try await authority.servingIdentity())
        try await IstiodStandIn.serving(service, as: shown) { server in
            // Found by its address, which is in its certificate.
            let session = try session(server, name: nil)
            let svid = try await issue(session)
            #expect(svid.id == identity)
            #expect(session.bundles[identity.trustDomain]?.authorities == authority.bundle.current.authorities)
            let db = try SPIFFEID("spiffe://cluster.local/ns/shop/sa/db")
            let refused = await #expect(throws: IssuanceError.self) { try await issue(session, db) }
            #expect(refused?.kind == .retry(after: .milliseconds(500)))
            let (node, caller) = (try NodeName("node-a"), AdminCaller.thisProcess)
            try await authority.ban(node, reason: "stolen", by: caller)
            let banned = await #expect(throws: IssuanceError.self) { try await issue(session) }
            #expect(banned?.kind == .denied && banned?.message.contains("banned") == true)
            try await authority.unban(node, reason: "found", by: caller)
            _ = try await issue(session)
            let foreign = try SPIFFEID("spiffe://other.test/ns/shop/sa/web")
            let denied = await #expect(throws: IssuanceError.self) { try await issue(session, foreign) }
            #expect(denied?.kind == .denied)
        }
    }
}
