import ArgumentParser
import Authority
import FoundationEssentials
import Glibc
import HBONE
import IPAddressing
import Logging
import MeshAPI
import Observability
import SPIFFE
import SwiftASN1
import Testing
import WorkloadIdentity
import X509

@testable import culvert

/// Nodes that come back after a long outage, over real connections. Nothing here waits for a certificate to expire: it was made in the past.
@Suite("A node comes back after an outage that outlived its certificate", .timeLimit(.minutes(2)))
struct NodeReturnTests {
    /// An authority that gave node-a an SVID two hours ago, which ended an hour ago; and the SVID.
    private func afterOutage() async throws -> (ServingAuthority, X509SVID) {
        let serving = try await ServingAuthority(offset: -7200)
        let svid = try await attested(serving)
        serving.clock.set(0)
        return (serving, svid)
    }

    private func attested(_ serving: ServingAuthority) async throws -> X509SVID {
        let asked = try IdentityRequest(uri: "spiffe://td.test/culvert/node/node-a")
        let token = try await serving.authority.createJoinToken(node: NodeName("node-a")).token
        let issued = try await serving.authority.attestNode(
            token: token.text, csr: asked.csr.der(), source: "test")
        return try X509SVID(certificates: issued.certificates, privateKey: asked.key)
    }

    private func client(_ address: SocketAddress, _ svid: X509SVID, _ bundle: TrustBundle) throws -> AuthorityClient {
        try AuthorityClient(
            address: address, trustDomain: ServingAuthority.domain, svid: svid, bundles: TrustBundleSet([bundle]))
    }

    private func running(_ client: AuthorityClient, _ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.run() }
            defer { group.cancelAll() }
            try await body()
        }
    }

    @Test("the expired SVID renews itself and does nothing else; the new one works at once")
    func renewal() async throws {
        let (serving, expired) = try await afterOutage()
        defer { serving.remove() }
        let web = try SPIFFEID("spiffe://td.test/ns/shop/sa/web")
        let bundle = serving.authority.bundle.current
        try await serving.serving { addresses in
            let client = try client(addresses.nodes, expired, bundle)
            try await running(client) {
                let pod = try IdentityRequest(uri: web.description)
                await #expect(throws: IssuanceError.self) {
                    try await client.issue(podUID: "web-uid", identity: web, csr: pod.csr, urgency: .firstUse)
                }
                await #expect(throws: AuthorityCallError.self) {
                    try await client.followBundle {
                        BundleReport(sequence: 1, version: "", leaves: [])
                    } onUpdate: { _ in
                        Issue.record("the bundle came to a node whose SVID has expired")
                    }
                }
                let asked = try IdentityRequest(uri: expired.id.description)
                let renewed = try X509SVID(
                    certificates: try await client.renewNode(csr: asked.csr), privateKey: asked.key)
                #expect(renewed.notAfter > Date())
                // The authority goes by the connection's SVID: what follows is over another one.
                try client.replaceIdentity(with: renewed)
                let leaf = try await client.issue(podUID: "web-uid", identity: web, csr: pod.csr, urgency: .firstUse)
                #expect(try leaf[0].spiffeID() == web)
            }
        }
        let returns = serving.audit.all.filter {
            if case .nodeRenewedAfterExpiry = $0 { true } else { false }
        }
        #expect(returns.count == 1)
    }

    @Test("beyond the grace it does not get past the handshake")
    func beyondGrace() async throws {
        let serving = try await ServingAuthority(offset: -8 * 86400)
        defer { serving.remove() }
        let svid = try await attested(serving)
        serving.clock.set(0)
        try await serving.authority.maintain()
        try await serving.serving { addresses in
            let client = try client(addresses.nodes, svid, serving.authority.bundle.current)
            try await running(client) {
                let asked = try IdentityRequest(uri: svid.id.description)
                await #expect(throws: AuthorityCallError.self) { try await client.renewNode(csr: asked.csr) }
            }
        }
    }

    @Test(
        "a node that was banned while it was away renews nothing and says why; unbanned, it comes back without a token")
    func banned() async throws {
        let (serving, expired) = try await afterOutage()
        let node = Node()
        defer {
            serving.remove()
            node.remove()
        }
        let (name, bundle) = (try NodeName("node-a"), serving.authority.bundle.current)
        try NodeCredentials(directory: node.directory).save(expired)
        let file = "\(node.directory)/ca.pem"
        try PublishedFile.write(bundle.pem(), to: file, mode: 0o600)
        try await serving.authority.ban(name, reason: "stolen", by: .thisProcess)
        try await serving.serving { addresses in
            let client = try client(addresses.nodes, expired, bundle)
            try await running(client) {
                let asked = try IdentityRequest(uri: expired.id.description)
                let error = await #expect(throws: AuthorityCallError.self) {
                    try await client.renewNode(csr: asked.csr)
                }
                guard case .denied(let denial)? = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
                #expect(denial.reason == .banned)
            }
            let banned = try node.session(addresses, bundleFile: file)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await banned.run { _ in } }
                while node.readiness.notReadyBecause?.contains("banned") != true {
                    try await Task.sleep(for: .milliseconds(10))
                }
                group.cancelAll()
                while (try? await group.next()) != nil {}
            }
            #expect(banned.nodeSVID == nil)
            #expect(!serving.audit.all.contains { if case .nodeRenewedAfterExpiry = $0 { true } else { false } })
            try await serving.authority.unban(name, reason: "found", by: .thisProcess)
            try await node.returns(to: serving, node.session(addresses, bundleFile: file))
        }
        #expect(serving.audit.all.contains { if case .nodeRenewedAfterExpiry = $0 { true } else { false } })
    }

    /// A proxy's dealings with the authority, in a directory of its own.
    private struct Node {
        let directory: String
        let readiness = Readiness(conditions: [ProxyNode.Condition.authority])

        init() {
            directory = "/tmp/cvt-node-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
            mkdir(directory, 0o700)
        }

        func session(
            _ addresses: ServingAuthority.Addresses, bundleFile: String, token: String? = nil,
            onBundle: @escaping @Sendable (TrustBundle) -> Void = { _ in }
        ) throws -> AuthoritySession {
            let bundle = try TrustBundle(trustDomain: ServingAuthority.domain, pem: try TextFile.read(bundleFile))
            let settings = AuthoritySession.Settings(
                node: "node-a", trustDomain: ServingAuthority.domain, authority: addresses.nodes,
                attestation: addresses.attestation, bundle: bundle, bundleFile: bundleFile, joinTokenFile: token,
                stateDirectory: directory)
            return AuthoritySession(
                settings: settings, leaves: LeafRegister(), readiness: readiness, logger: ServingAuthority.quiet,
                onTrust: { bundles in bundles[ServingAuthority.domain].map(onBundle) })
        }

        /// While the session runs, until the node has an SVID that works: it follows the bundle, unless the authority's own has expired.
        func returns(
            to serving: ServingAuthority, _ session: AuthoritySession, follows: Bool = true,
            meanwhile: () async throws -> Void = {}
        ) async throws {
            let name = try NodeName("node-a")
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await session.run { _ in } }
                defer { group.cancelAll() }
                try await meanwhile()
                while readiness.notReadyBecause != nil
                    || (follows && !serving.authority.bundle.followers.contains(name))
                {
                    try await Task.sleep(for: .milliseconds(10))
                }
            }
        }

        func remove() {
            for name in (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? [] {
                unlink("\(directory)/\(name)")
            }
            rmdir(directory)
        }
    }

    @Test("a proxy that starts with an expired certificate renews it, without a token")
    func restarted() async throws {
        let (serving, expired) = try await afterOutage()
        let node = Node()
        defer {
            serving.remove()
            node.remove()
        }
        try NodeCredentials(directory: node.directory).save(expired)
        try PublishedFile.write(serving.authority.bundle.current.pem(), to: "\(node.directory)/ca.pem", mode: 0o600)
        try await serving.serving { addresses in
            try await node.returns(to: serving, node.session(addresses, bundleFile: "\(node.directory)/ca.pem"))
        }
        let kept = try #require(NodeCredentials(directory: node.directory).load { Issue.record("\($0)") })
        #expect(kept.notAfter > Date())
    }

    @Test(
        "a proxy whose certificate expires while the authority cannot sign says so, and renews it as soon as that can again"
    )
    func expiresMeanwhile() async throws {
        // Its SVID of an hour was given to it an hour ago but for a moment.
        let serving = try await ServingAuthority(offset: -3597)
        let node = Node()
        defer {
            serving.remove()
            node.remove()
        }
        let svid = try await attested(serving)
        try NodeCredentials(directory: node.directory).save(svid)
        try PublishedFile.write(serving.authority.bundle.current.pem(), to: "\(node.directory)/ca.pem", mode: 0o600)
        try await serving.serving { addresses in
            // Before the intermediate begins nothing can be signed.
            serving.clock.set(-10 * 86400)
            let session = try node.session(addresses, bundleFile: "\(node.directory)/ca.pem")
            try await node.returns(to: serving, session, follows: false) {
                while svid.notAfter > Date() || node.readiness.notReadyBecause == nil {
                    try await Task.sleep(for: .milliseconds(10))
                }
                serving.clock.set(0)
            }
        }
        let kept = try #require(NodeCredentials(directory: node.directory).load { Issue.record("\($0)") })
        #expect(kept.notAfter > Date())
    }

    @Test(
        "a proxy that was away while the root was replaced, and whose certificate has expired, needs a newer file and nothing else"
    )
    func replacedRoot() async throws {
        let (serving, expired) = try await afterOutage()
        let node = Node()
        defer {
            serving.remove()
            node.remove()
        }
        let before = serving.authority.bundle.current
        try NodeCredentials(directory: node.directory).save(expired)
        try PublishedFile.write(before.jwks(), to: "\(node.directory)/bundle.json", mode: 0o600)
        let file = "\(node.directory)/ca.pem"
        try PublishedFile.write(before.pem(), to: file, mode: 0o600)
        _ = try await serving.authority.rotate(.prepare)
        let next = try #require(
            serving.authority.status().authorities.first { $0.kind == .root && $0.state == .prepared })
        _ = try await serving.authority.rotate(.activate(next.id, force: RotationReason("the node is away")))
        #expect(serving.authority.bundle.current.authorities.count == 2)
        try await serving.serving { addresses in
            let session = try node.session(addresses, bundleFile: file)
            try await node.returns(to: serving, session) {
                while node.readiness.notReadyBecause?.contains("not recognised") != true {
                    try await Task.sleep(for: .milliseconds(10))
                }
                #expect(node.readiness.notReadyBecause?.contains(file) == true)
                #expect(!serving.audit.all.contains { if case .nodeRenewedAfterExpiry = $0 { true } else { false } })
                try PublishedFile.write(serving.authority.bundle.current.pem(), to: file, mode: 0o600)
            }
        }
        #expect(serving.audit.all.contains { if case .nodeRenewedAfterExpiry = $0 { true } else { false } })
    }

    @Test(
        "a proxy whose bundle is stale does not talk to the authority until the operator's file vouches for it, and then by itself"
    )
    func staleBundle() async throws {
        let stranger = try await ServingAuthority()
        let serving = try await ServingAuthority()
        let node = Node()
        defer {
            stranger.remove()
            serving.remove()
            node.remove()
        }
        let file = "\(node.directory)/ca.pem"
        try PublishedFile.write(stranger.authority.bundle.current.pem(), to: file, mode: 0o600)
        let token = try await serving.authority.createJoinToken(node: NodeName("node-a")).token
        try PublishedFile.write(token.text + "\n", to: "\(node.directory)/token", mode: 0o600)
        try await serving.serving { addresses in
            let session = try node.session(addresses, bundleFile: file, token: "\(node.directory)/token")
            try await node.returns(to: serving, session) {
                while node.readiness.notReadyBecause?.contains("not recognised") != true {
                    try await Task.sleep(for: .milliseconds(10))
                }
                #expect(!serving.audit.all.contains { if case .nodeAttested = $0 { true } else { false } })
                try PublishedFile.write(serving.authority.bundle.current.pem(), to: file, mode: 0o600)
            }
        }
        #expect(serving.audit.all.contains { if case .nodeAttested = $0 { true } else { false } })
        let kept = try TrustBundle(
            trustDomain: ServingAuthority.domain, jwks: try TextFile.read("\(node.directory)/bundle.json").utf8)
        #expect(kept == serving.authority.bundle.current)
    }
}

extension CertificateSigningRequest {
    fileprivate func der() throws -> [UInt8] {
        var serializer = DER.Serializer()
        try serializer.serialize(self)
        return serializer.serializedBytes
    }
}
