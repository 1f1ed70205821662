import FoundationEssentials
import RevocationFixtures
import SPIFFE
import Testing
import X509

@testable import Authority

/// Decisions alone: records in, records out.
@Suite("Which plug-in CA signs") struct PluggedInTests {
    /// A plug-in CA at work, and what was stored and published of it.
    private struct Scene {
        var plugin: PluggedIn
        var records: [AuthorityRecord] = []
        var sequence: UInt64 = 0
        var published: TrustBundle?
        var nodes: [NodeRecord] = []
        var now = PluginFixture.now

        init(_ set: PluginAuthority) throws {
            plugin = PluggedIn(
                set, stored: StoredAuthorities(trustDomain: nil, records: [], sequence: 0), nodes: [], now: now)
            try settle()
        }

        /// Until nothing changes; returns how many steps that took.
        @discardableResult
        mutating func settle() throws -> Int {
            for steps in 0..<10 {
                let outcome = plugin.settle(
                    records, sequence: sequence, published: published, nodes: nodes, leafLifetime: .seconds(3600),
                    now: now)
                guard outcome.isChange || outcome.sequence != sequence else { return steps }
                records = outcome.records
                sequence = outcome.sequence
                published = try TrustBundle(
                    trustDomain: AuthorityFixture.trustDomain, authorities: outcome.certificates,
                    revocations: outcome.revocations, sequence: sequence)
            }
            Issue.record("it does not come to rest")
            return 10
        }

        mutating func join(_ name: String, acknowledging sequence: UInt64, for life: Double = 3600) throws {
            let name = try NodeName(name)
            nodes.removeAll { $0.name == name }
            var node = NodeRecord(
                name: name, id: try ReservedIdentity.node(name, of: AuthorityFixture.trustDomain), attestedAt: now,
                serial: "01", expiresAt: now.addingTimeInterval(life))
            node.acknowledgement = NodeAcknowledgement(sequence: sequence, version: "", leaves: [], at: now)
            nodes.append(node)
        }

        func state(of certificate: Certificate) -> AuthorityRecord.State? {
            records.first { $0.id == AuthorityID(publicKey: certificate.publicKey) }?.state
        }

        func publishes(_ certificate: Certificate) -> Bool { published?.authorities.contains(certificate) == true }
    }

    @Test("is the only one at start, with its root in the first bundle")
    func start() throws {
        let made = try PluginFixture().made()
        let scene = try Scene(made.files.validated())
        #expect(scene.sequence == 1 && scene.publishes(made.root.certificate))
        #expect(
            scene.state(of: made.root.certificate) == .active && scene.state(of: made.signer.certificate) == .active)
        #expect(scene.records.allSatisfy { $0.sealedKey == nil })
    }

    @Test("is the next intermediate of the same root at once: the bundle stays as it is")
    func sameRoot() throws {
        let first = try PluginFixture().made()
        var scene = try Scene(first.files.validated())
        try scene.join("node-a", acknowledging: 1)
        let signer = try CAPlan("Next", now: scene.now, life: .seconds(86_400)).made(by: first.root)
        var files = first.files
        files.certificate = file("ca-cert.pem", signer.pem)
        files.key = file("ca-key.pem", try signer.keyPEM)
        files.chain = file("cert-chain.pem", signer.pem + first.root.pem)
        scene.plugin.offer(try files.validated())
        #expect(try scene.settle() == 1)
        #expect(scene.plugin.inForce.signer.certificate == signer.certificate && scene.sequence == 1)
        #expect(scene.state(of: first.signer.certificate) == .old)
    }

    @Test("is one under a new root when every live node has a bundle with it, and not before")
    func newRoot() throws {
        let (first, second) = (try PluginFixture().made(), try PluginFixture().made())
        var scene = try Scene(first.files.validated())
        try scene.join("node-a", acknowledging: 1)
        try scene.join("node-b", acknowledging: 1)
        scene.plugin.offer(try second.files.validated())
        try scene.settle()
        #expect(
            scene.sequence == 2 && scene.publishes(second.root.certificate) && scene.publishes(first.root.certificate))
        #expect(scene.plugin.inForce.signer.certificate == first.signer.certificate)
        #expect(try scene.plugin.laggards(scene.nodes, now: scene.now) == [NodeName("node-a"), NodeName("node-b")])
        try scene.join("node-a", acknowledging: 2)
        #expect(try scene.settle() == 0)
        // The other one's certificate runs out: it is not waited for.
        try scene.join("node-b", acknowledging: 1, for: 60)
        scene.now = scene.now.addingTimeInterval(61)
        #expect(try scene.settle() == 1)
        #expect(scene.plugin.inForce.signer.certificate == second.signer.certificate)
        #expect(scene.state(of: first.root.certificate) == .old && scene.publishes(first.root.certificate))
        #expect(scene.sequence == 2)
        // As long as a leaf of the old one can be alive.
        scene.now = scene.now.addingTimeInterval(3600)
        #expect(try scene.settle() == 0)
        scene.now = scene.now.addingTimeInterval(121)
        #expect(try scene.settle() == 1)
        #expect(!scene.publishes(first.root.certificate) && scene.state(of: first.root.certificate) == .revoked)
        #expect(scene.sequence == 3)
    }

    @Test("is the next one at once when nobody is there to wait for, or when the present one has run out")
    func nobody() throws {
        let (first, second) = (try PluginFixture().made(), try PluginFixture().made())
        var scene = try Scene(first.files.validated())
        scene.plugin.offer(try second.files.validated())
        try scene.settle()
        #expect(scene.plugin.inForce.signer.certificate == second.signer.certificate)
        scene = try Scene(first.files.validated())
        try scene.join("node-a", acknowledging: 1, for: 86_400 * 60)
        scene.plugin.offer(try second.files.validated())
        scene.now = scene.plugin.inForce.signer.notAfter
        try scene.settle()
        #expect(scene.plugin.inForce.signer.certificate == second.signer.certificate)
    }

    @Test("is the present one when the files come back while the next one waits")
    func back() throws {
        let (first, second) = (try PluginFixture().made(), try PluginFixture().made())
        var scene = try Scene(first.files.validated())
        try scene.join("node-a", acknowledging: 1)
        scene.plugin.offer(try second.files.validated())
        try scene.settle()
        scene.plugin.offer(try first.files.validated())
        try scene.settle()
        #expect(scene.plugin.next == nil && scene.plugin.inForce.signer.certificate == first.signer.certificate)
        #expect(scene.state(of: first.root.certificate) == .active && scene.state(of: second.root.certificate) == .old)
    }

    @Test("a revocation list more, or one less, is a new bundle, and nothing else changes")
    func lists() throws {
        var made = try PluginFixture().made()
        var scene = try Scene(made.files.validated())
        made.files.revocations = file("ca-crl.pem", try made.signer.list(RevocationPlan(now: scene.now)))
        scene.plugin.offer(try made.files.validated())
        #expect(try scene.settle() == 1)
        #expect(scene.sequence == 2 && scene.published?.revocations.count == 1)
        #expect(try scene.settle() == 0)
        made.files.revocations = nil
        scene.plugin.offer(try made.files.validated())
        try scene.settle()
        #expect(scene.sequence == 3 && scene.published?.revocations.isEmpty == true)
    }
}
