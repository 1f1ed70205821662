import Crypto
import FoundationEssentials
import RevocationFixtures
import SPIFFE
import Testing
import X509

@testable import Authority

@Suite("An authority with a plug-in CA") struct PluginReloadTests {
    private func fixture(
        _ files: PluginFiles, directory: TemporaryDirectory = TemporaryDirectory(), clock: TestClock = TestClock(),
        lifetimes: AuthorityLifetimes = AuthorityLifetimes()
    ) async throws -> AuthorityFixture {
        try await AuthorityFixture(directory: directory, clock: clock, lifetimes: lifetimes) { $0.plugin = files }
    }

    private func verdict(_ svid: IssuedSVID, by bundle: TrustBundle, at now: Date) -> String {
        let verifier = PeerVerifier(bundles: TrustBundleSet([bundle]))
        switch verifier.verify(chainDER: svid.certificates.map { $0.der() }, role: .server, now: now) {
        case .verified(let peer): return "\(peer.id)"
        case .refused(let refusal): return "refused: \(refusal)"
        }
    }

    @Test("signs with it, says so in its status, and leaves rotation to its files")
    func signs() async throws {
        let made = try PluginFixture { $0.signer.key = .init(P384.Signing.PrivateKey()) }.made()
        let fixture = try await fixture(made.files)
        let svid = try await fixture.webSVID()
        #expect(svid.certificates[1...] == [made.signer.certificate])
        #expect(
            verdict(svid, by: fixture.authority.bundle.current, at: fixture.clock.now)
                == "spiffe://culvert.test/ns/shop/sa/web")
        #expect(fixture.authority.bundle.current.authorities == [made.root.certificate])
        let status = fixture.authority.status()
        #expect(status.plugin?.description == "signs until 2026-01-31T00:00:00Z")
        #expect(status.authorities.map(\.state) == [.active, .active] && status.warnings.isEmpty)
        #expect(fixture.authority.signatureObstacle() == nil)
        for command in [RotationCommand.prepare, .abort, .rotate] {
            #expect(try await fixture.authority.rotate(command).refusal == .pluggedIn)
        }
        try await fixture.authority.maintain()
        #expect(fixture.authority.status().authorities.count == 2)
    }

    @Test("goes on after a restart, with a bundle that is newer or the same")
    func restart() async throws {
        let made = try PluginFixture().made()
        let directory = TemporaryDirectory()
        var first: AuthorityFixture? = try await fixture(made.files, directory: directory)
        let node = try #require(try await first?.join("node-a"))
        let before = try #require(first?.authority.bundle.current.sequence)
        first = nil
        let again = try await fixture(made.files, directory: directory)
        #expect(again.authority.bundle.current.sequence > before)
        #expect(again.authority.bundle.current.authorities == [made.root.certificate])
        _ = try await again.authority.issue(podUID: "web-uid", csr: request(), caller: node)
    }

    @Test("does not take the place of roots that an authority made, nor they its place")
    func kinds() async throws {
        let made = try PluginFixture().made()
        let own = TemporaryDirectory()
        _ = try await AuthorityFixture(directory: own)
        await #expect(throws: AuthorityError.selfMade) { try await fixture(made.files, directory: own) }
        let plugged = TemporaryDirectory()
        _ = try await fixture(made.files, directory: plugged)
        await #expect(throws: AuthorityError.pluggedIn) { try await AuthorityFixture(directory: plugged) }
        var broken = made.files
        broken.key = file("ca-key.pem", try made.root.keyPEM)
        await #expect(throws: AuthorityError.plugin(.keyMismatch(certificate: "ca-cert.pem", key: "ca-key.pem"))) {
            try await fixture(broken)
        }
    }

    @Test("goes on with the set in force when the next one is bad, says so once, and takes the good one that follows")
    func badSet() async throws {
        let (first, second) = (try PluginFixture().made(), try PluginFixture().made())
        let fixture = try await fixture(first.files)
        let node = try await fixture.join("node-a")
        var torn = second.files
        torn.key = first.files.key
        let flaw = PluginFlaw.keyMismatch(certificate: "ca-cert.pem", key: "ca-key.pem")
        await #expect(throws: flaw) { try await fixture.authority.replacePlugin(with: torn) }
        #expect(fixture.audit.all.filter { $0 == .pluginRefused(flaw) }.count == 1)
        #expect(fixture.authority.status().plugin?.refused == flaw)
        var svid = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        #expect(svid.certificates[1] == first.signer.certificate)
        // The node has the first bundle only.
        try await fixture.authority.acknowledge(sequence: 1, version: "", leaves: [], caller: node)
        try await fixture.authority.replacePlugin(with: second.files)
        #expect(fixture.authority.status().plugin?.refused == nil)
        #expect(try fixture.authority.status().plugin?.waitsFor == [NodeName("node-a")])
        svid = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        #expect(svid.certificates[1] == first.signer.certificate)
        #expect(fixture.authority.bundle.current.authorities.count == 2)
        try await fixture.authority.acknowledge(
            sequence: fixture.authority.bundle.current.sequence, version: "", leaves: [], caller: node)
        try await fixture.authority.maintain()
        svid = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        #expect(svid.certificates[1] == second.signer.certificate)
        #expect(verdict(svid, by: fixture.authority.bundle.current, at: fixture.clock.now).hasPrefix("spiffe://"))
    }

    @Test("hands its revocation lists out with the bundle, so that what it revoked is refused")
    func revocation() async throws {
        var made = try PluginFixture().made()
        let fixture = try await fixture(made.files)
        let svid = try await fixture.webSVID()
        var plan = RevocationPlan(now: fixture.clock.now)
        plan.entries = [.init(svid.certificates[0], reason: 1, date: fixture.clock.now)]
        made.files.revocations = file("ca-crl.pem", try made.signer.list(plan))
        let before = fixture.authority.bundle.current.sequence
        try await fixture.authority.replacePlugin(with: made.files)
        let bundle = fixture.authority.bundle.current
        #expect(bundle.sequence == before + 1)
        #expect(
            verdict(svid, by: bundle, at: fixture.clock.now).contains(
                "was revoked on 2026-01-01T00:00:00Z (key compromise)"))
        #expect(fixture.authority.status().plugin?.description.contains("revocation lists: 1, with 1 revoked") == true)
        fixture.clock.advance(.seconds(7200))
        #expect(fixture.authority.status().warnings.contains { $0.contains("it goes on being honoured") })
        made.files.revocations = nil
        try await fixture.authority.replacePlugin(with: made.files)
        #expect(fixture.authority.bundle.current.revocations.isEmpty)
    }

    @Test("cuts leaves short at the end of its certificate, warns of that, and signs nothing after it")
    func end() async throws {
        let made = try PluginFixture { $0.signer.notAfter = PluginFixture.now.addingTimeInterval(7200) }.made()
        let fixture = try await fixture(made.files, lifetimes: AuthorityLifetimes(leaf: .seconds(1200)))
        let node = try await fixture.join("node-a")
        fixture.clock.advance(.seconds(6600))
        #expect(fixture.authority.status().warnings.contains { $0.contains("cut short") })
        fixture.clock.advance(.seconds(-6600))
        _ = try await fixture.authority.renewNode(csr: request(), caller: node)
        fixture.clock.advance(.seconds(1000))
        _ = try await fixture.authority.renewNode(csr: request(), caller: node)
        // One renewal after the other, to the end of the CA.
        for _ in 0..<6 {
            fixture.clock.advance(.seconds(900))
            let svid = try await fixture.authority.renewNode(csr: request(), caller: node)
            #expect(svid.notAfter <= made.signer.certificate.notValidAfter)
        }
        fixture.clock.advance(.seconds(799))
        let last = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        #expect(last.notAfter == made.signer.certificate.notValidAfter)
        fixture.clock.advance(.seconds(1))
        await #expect(throws: Denial.self) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
    }
}
