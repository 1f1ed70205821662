import Authority
import FoundationEssentials
import IPAddressing
import Logging
import MeshAPI
import Observability
import SPIFFE
import Synchronization
import Testing
import WorkloadIdentity
import X509

@testable import culvert

@Suite("A node and its authority, over the network", .timeLimit(.minutes(3)))
struct AuthorityNodeTests {
    /// A node's queue of identities on a connection, while `body` runs.
    private func managing(
        _ rig: AuthorityRig, _ client: AuthorityClient, _ received: Received,
        _ body: (SVIDManager) async throws -> Void
    ) async throws {
        let manager = SVIDManager(
            issuer: client, bundles: { TrustBundleSet([rig.authority.bundle.current]) }, logger: AuthorityRig.silent,
            publish: { _, svid, _ in received.add(svid) })
        let task = Task { await manager.run() }
        defer { task.cancel() }
        try await body(manager)
        task.cancel()
        await task.value
    }

    private final class Received: Sendable {
        private let svids = Mutex<[X509SVID]>([])
        var all: [X509SVID] { svids.withLock { $0 } }
        func add(_ svid: X509SVID) { svids.withLock { $0.append(svid) } }
    }

    private func id(_ pod: String) throws -> SPIFFEID { try SPIFFEID("spiffe://culvert.test/ns/shop/sa/\(pod)") }

    @Test("a pod that the authority does not know yet is asked for again, and served once it does")
    func retry() async throws {
        try await AuthorityRig.running { rig in
            let received = Received()
            try await rig.calling(as: rig.attested("node-a")) { client in
                try await managing(rig, client, received) { manager in
                    await manager.hold(podUID: "web", identity: try id("web"))
                    #expect(await eventually { rig.authority.status().denied > 0 })
                    rig.pods.set("web", on: "node-a")
                    #expect(await eventually { received.all.count == 1 })
                }
            }
        }
    }

    /// A few hundred: a debug build signs and checks some hundred in a second. `Benchmarks/authority` does the same with 100 000.
    @Test("more identities at once than the authority signs are paced by it, and each arrives, signed once")
    func pacing() async throws {
        var limits = AuthorityLimits()
        limits.nodeBurst = 20
        limits.nodeSignaturesPerSecond = 200
        try await AuthorityRig.running(limits: limits) { rig in
            let received = Received()
            let (nodes, each) = (4, 100)
            try await withThrowingTaskGroup(of: Void.self) { group in
                rig.stopClock()
                for node in 0..<nodes {
                    let svid = try await rig.attested("node-\(node)")
                    for pod in 0..<each { rig.pods.set("n\(node)-p\(pod)", on: "node-\(node)") }
                    group.addTask {
                        try await rig.calling(as: svid) { client in
                            try await managing(rig, client, received) { manager in
                                for pod in 0..<each {
                                    await manager.hold(
                                        podUID: "n\(node)-p\(pod)", identity: try id("n\(node)-p\(pod)"))
                                }
                                #expect(await eventually { received.all.count == nodes * each })
                            }
                        }
                    }
                }
                // Every node has had its burst and was told to wait; nothing more is signed.
                let burst = UInt64(nodes * limits.nodeBurst + nodes + 1)
                #expect(
                    await eventually {
                        let status = rig.authority.status()
                        return status.signed == burst && status.denied >= nodes
                    })
                rig.startClock()
                try await group.waitForAll()
            }
            #expect(Set(received.all.map(\.id)).count == nodes * each)
            // And the authority's own, and the nodes'.
            #expect(rig.authority.status().signed == UInt64(nodes * each + nodes + 1))
        }
    }

    @Test("a pod that is over is not asked for again; what it holds stays")
    func ended() async throws {
        let lifetimes = AuthorityLifetimes(
            root: .seconds(36 * 3600), intermediate: .seconds(3600), leaf: AuthorityLifetimes.leafMin)
        try await AuthorityRig.running(lifetimes: lifetimes) { rig in
            rig.pods.set("web", on: "node-a")
            let received = Received()
            try await rig.calling(as: rig.attested("node-a")) { client in
                try await managing(rig, client, received) { manager in
                    await manager.hold(podUID: "web", identity: try id("web"))
                    #expect(await eventually { !received.all.isEmpty })
                    rig.pods.set("web", on: "node-a", live: false)
                    #expect(await eventually { await manager.statuses.first?.nextAttempt == .distantFuture })
                    #expect(rig.authority.status().denied == 1)
                    #expect(await manager.statuses.first?.schedule != nil)
                    #expect(try await client.outcome("web") == .ended)
                }
            }
        }
    }

    @Test("a banned node's bundle stream ends, its calls are refused, and it comes back by itself when it is unbanned")
    func ban() async throws {
        try await AuthorityRig.running { rig in
            rig.pods.set("web", on: "node-a")
            let svid = try await rig.attested("node-a")
            let (node, caller) = (try NodeName("node-a"), AdminCaller.thisProcess)
            try await rig.calling(as: svid) { client in
                let ended = Mutex<AuthorityCallError?>(nil)
                let follower = Task {
                    do throws(AuthorityCallError) {
                        try await client.followBundle {
                            BundleReport(sequence: 1, version: "test", leaves: [])
                        } onUpdate: { _ in
                        }
                    } catch {
                        ended.withLock { $0 = error }
                    }
                }
                #expect(await eventually { rig.authority.bundle.followers == [node] })
                try await rig.authority.ban(node, reason: "test", by: caller)
                await follower.value
                guard case .denied(let denial) = ended.withLock({ $0 }) else {
                    Issue.record("the stream did not end with a denial")
                    return
                }
                #expect(denial.reason == .banned)
                #expect(try await client.outcome("web") == .slowDown(.seconds(100)))
                await #expect(throws: AuthorityCallError.self) { try await client.renewed(svid) }
                try await rig.authority.unban(node, reason: "test", by: caller)
                #expect(try await client.outcome("web") == nil)
            }
        }
    }

    @Test("of two that hold one node's identity the one that renews first goes on, over a new connection")
    func clone() async throws {
        try await AuthorityRig.running { rig in
            rig.pods.set("web", on: "node-a")
            let svid = try await rig.attested("node-a")
            try await rig.calling(as: svid) { genuine in
                try await rig.calling(as: svid) { copy in
                    #expect(try await genuine.outcome("web") == nil)
                    #expect(try await copy.outcome("web") == nil)
                    try genuine.replaceIdentity(with: try await genuine.renewed(svid))
                    #expect(try await genuine.outcome("web") == nil)
                    let error = await #expect(throws: AuthorityCallError.self) { try await copy.renewed(svid) }
                    #expect(error?.wantsAttestation == true)
                    rig.advance(PresentedSVID.drainTime)
                    #expect(try await copy.outcome("web") == .attestAgain)
                    #expect(try await genuine.outcome("web") == nil)
                    #expect(try rig.record("node-a")?.cloneSeenAt != nil)
                }
            }
        }
    }

    @Test("a node that the authority has forgotten attests again as soon as it has a token, and serves on")
    func attestAgain() async throws {
        try await AuthorityRig.running { rig in
            rig.pods.set("web", on: "node-a")
            let tokenFile = "\(rig.directory)/token"
            try await rig.token("node-a").write(toFile: tokenFile)
            let readiness = Readiness(conditions: ["authority"])
            let session = AuthoritySession(
                settings: settings(rig, tokenFile: tokenFile), leaves: LeafRegister(), readiness: readiness,
                logger: AuthorityRig.silent, onTrust: { _ in })
            let task = Task { try await session.run { _ in } }
            defer { task.cancel() }
            #expect(await eventually { await issued(session) == nil })
            let node = try NodeName("node-a")
            let first = try #require(try rig.record("node-a")).serial
            try await rig.authority.evict(node, reason: "test", by: .thisProcess)
            #expect(await eventually { rig.authority.bundle.followers.isEmpty && readiness.notReadyBecause != nil })
            try await rig.token("node-a").write(toFile: tokenFile)
            #expect(await eventually { await issued(session) == nil })
            #expect(readiness.notReadyBecause == nil)
            let record = try #require(try rig.record("node-a"))
            #expect(record.serial != first && record.cloneSeenAt == nil)
        }
    }

    @Test("a node renews its own SVID in time, shows the new one at once, and the bundle stream follows it there")
    func ownRenewal() async throws {
        let lifetimes = AuthorityLifetimes(
            root: .seconds(36 * 3600), intermediate: .seconds(3600), leaf: AuthorityLifetimes.leafMin)
        try await AuthorityRig.running(lifetimes: lifetimes) { rig in
            rig.pods.set("web", on: "node-a")
            let tokenFile = "\(rig.directory)/token"
            try await rig.token("node-a").write(toFile: tokenFile)
            let session = AuthoritySession(
                settings: settings(rig, tokenFile: tokenFile), leaves: LeafRegister(),
                readiness: Readiness(conditions: ["authority"]), logger: AuthorityRig.silent, onTrust: { _ in })
            let task = Task { try await session.run { _ in } }
            defer { task.cancel() }
            #expect(await eventually { (try? rig.record("node-a")) != nil })
            let first = try #require(try rig.record("node-a")).serial
            // Seen in use: promoted.
            #expect(
                await eventually {
                    (try? rig.record("node-a")).map { $0.serial != first && $0.nextSerial == nil } ?? false
                })
            #expect(await eventually { await issued(session) == nil })
            #expect(try rig.record("node-a")?.cloneSeenAt == nil)
        }
    }

    private func issued(_ session: AuthoritySession) async -> IssuanceError? {
        do throws(IssuanceError) {
            let identity: SPIFFEID
            let request: CertificateSigningRequest
            do {
                identity = try id("web")
                request = try IdentityRequest(uri: identity.description).csr
            } catch {
                throw IssuanceError(.denied, "\(error)")
            }
            _ = try await session.issue(podUID: "web", identity: identity, csr: request, urgency: .firstUse)
            return nil
        } catch {
            return error
        }
    }

    private func settings(_ rig: AuthorityRig, tokenFile: String) -> AuthoritySession.Settings {
        AuthoritySession.Settings(
            node: "node-a", trustDomain: AuthorityRig.trustDomain, authority: rig.nodes, attestation: rig.attestation,
            bundle: rig.authority.bundle.current, bundleFile: "\(rig.directory)/bundle.pem", joinTokenFile: tokenFile,
            stateDirectory: "\(rig.directory)/state")
    }
}

extension String {
    fileprivate func write(toFile path: String) throws {
        try Data(utf8).write(to: URL(filePath: path), options: .atomic)
    }
}
