import Authority
import FoundationEssentials
import Glibc
import MeshAPI
import Observability
import SPIFFE
import Testing
import WorkloadIdentity
import X509

@testable import culvert

/// During an upgrade two proxies are one node: they share its state directory, which a copy of its key elsewhere does not.
@Suite("Two holders of one node's identity", .timeLimit(.minutes(2)))
struct NodeHandoverTests {
    private func settings(_ rig: AuthorityRig) -> AuthoritySession.Settings {
        AuthoritySession.Settings(
            node: "node-a", trustDomain: AuthorityRig.trustDomain, authority: rig.nodes, attestation: rig.attestation,
            bundle: rig.authority.bundle.current, bundleFile: "\(rig.directory)/bundle.pem",
            joinTokenFile: "\(rig.directory)/token", stateDirectory: "\(rig.directory)/state")
    }

    /// One process's dealings with its certificate, as a proxy has them.
    private func attestation(_ rig: AuthorityRig) throws -> NodeAttestation {
        let settings = settings(rig)
        let trust = NodeTrustKeeper(
            bundle: settings.bundle, bundleFile: settings.bundleFile, directory: settings.stateDirectory,
            logger: AuthorityRig.silent)
        return NodeAttestation(
            settings: settings, credentials: try NodeCredentials(directory: settings.stateDirectory), trust: trust,
            readiness: Readiness(conditions: [ProxyNode.Condition.authority]), logger: AuthorityRig.silent)
    }

    @Test(
        "a token that the operator puts there while the one before is being refused is used at once",
        .timeLimit(.minutes(1)))
    func replacedToken() async throws {
        try await AuthorityRig.running { rig in
            try TextFile.write("\(rig.directory)/token", "refused\n")
            let attestation = try attestation(rig)
            let tried = attestation.joinToken
            try TextFile.write("\(rig.directory)/token", "fresh\n")
            try await attestation.sleep(.seconds(3600), havingTried: tried)
            #expect(attestation.joinToken == "fresh")
        }
    }

    private func nodeSignatures(_ rig: AuthorityRig) async throws -> Int {
        try await rig.authority.signatures(for: NodeName("node-a"), limit: 100).count { $0.podUID == nil }
    }

    private func clones(_ rig: AuthorityRig) -> [AuditEvent] {
        rig.events.filter { if case .cloneSeen = $0 { true } else { false } }
    }

    @Test("processes of a node that attest and renew at the same moment are given one certificate each time")
    func together() async throws {
        try await AuthorityRig.running { rig in
            rig.pods.set("web", on: "node-a")
            try TextFile.write("\(rig.directory)/token", try await rig.token("node-a"))
            func all(
                _ body: @escaping @Sendable (NodeAttestation) async throws -> NodeAttestation.Outcome
            ) async throws -> [X509SVID] {
                try await withThrowingTaskGroup(of: X509SVID.self) { group in
                    for _ in 0..<4 {
                        let process = try attestation(rig)
                        group.addTask { try await body(process).svid }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
            }
            let first = try await all { try await $0.identity() }
            #expect(Set(first.map(\.serialNumber)).count == 1)
            #expect(try await nodeSignatures(rig) == 1)
            try await rig.calling(as: first[0]) { client in
                let second = try await all { process in
                    try await process.successor(of: first[0]) { try await process.renewed(first[0].id, client) }
                }
                #expect(Set(second.map(\.serialNumber)).count == 1)
                #expect(second[0].serialNumber != first[0].serialNumber)
                #expect(try await nodeSignatures(rig) == 2)
                try client.replaceIdentity(with: second[0])
                #expect(try await client.outcome("web") == nil)
            }
            rig.advance(PresentedSVID.drainTime)
            try await rig.calling(as: #require(NodeCredentials(directory: "\(rig.directory)/state").load { _ in })) {
                client in
                let outcome = try await client.outcome("web")
                #expect(outcome == nil)
            }
            #expect(clones(rig).isEmpty)
        }
    }

    @Test(
        "a proxy goes on with what the one beside it has renewed, and is no clone; a copy of the key elsewhere is one")
    func upgrade() async throws {
        try await AuthorityRig.running { rig in
            rig.pods.set("web", on: "node-a")
            try TextFile.write("\(rig.directory)/token", try await rig.token("node-a"))
            let session = AuthoritySession(
                settings: settings(rig), leaves: LeafRegister(), readiness: Readiness(conditions: ["authority"]),
                logger: AuthorityRig.silent, fileInterval: .milliseconds(20), onTrust: { _ in })
            let running = Task { try await session.run { _ in } }
            defer { running.cancel() }
            #expect(await eventually { session.nodeSVID != nil })
            let before = try #require(session.nodeSVID)
            let beside = try attestation(rig)
            try await rig.calling(as: before) { client in
                let (next, _) = try await beside.successor(of: before) { try await beside.renewed(before.id, client) }
                try client.replaceIdentity(with: next)
                #expect(try await client.outcome("web") == nil)
                #expect(await eventually { session.nodeSVID?.serialNumber == next.serialNumber })
                // From now on the one before is worth nothing.
                rig.advance(PresentedSVID.drainTime)
                let web = try SPIFFEID("spiffe://culvert.test/ns/shop/sa/web")
                let csr = try IdentityRequest(uri: web.description).csr
                _ = try await session.issue(podUID: "web", identity: web, csr: csr, urgency: .firstUse)
                #expect(try await client.outcome("web") == nil)
            }
            #expect(try await nodeSignatures(rig) == 2)
            #expect(clones(rig).isEmpty)
            #expect(try rig.record("node-a")?.cloneSeenAt == nil)

            // The same key, and no view of this node's directory.
            try await rig.calling(as: before) { copy in
                let outcome = try await copy.outcome("web")
                #expect(outcome == .attestAgain)
            }
            #expect(clones(rig).count == 1)
            #expect(try rig.record("node-a")?.cloneSeenAt != nil)
        }
    }

    @Test("a process that is stuck with the lock does not cost the others their certificate")
    func lock() async throws {
        var template = Array("/tmp/culvert-lock-XXXXXX".utf8CString)
        let directory = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (one, other) = (try NodeCredentials(directory: directory), try NodeCredentials(directory: directory))
        var said: [String] = []
        let answer = try await one.exclusively(log: { _ in Issue.record("it is free") }) {
            try await other.exclusively(patience: .milliseconds(100), log: { said.append($0) }) { 42 }
        }
        #expect(answer == 42)
        #expect(said.count == 1 && said[0].contains("node.lock"))
    }
}
