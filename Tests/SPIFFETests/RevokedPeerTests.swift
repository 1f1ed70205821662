import FoundationEssentials
import RevocationFixtures
import SPIFFE
import Testing
import X509

@Suite("Peer verification with revocation lists")
struct RevokedPeerTests {
    private func bundle(_ root: TestAuthority, _ lists: [RevocationList]) throws -> TrustBundleSet {
        TrustBundleSet([
            try TrustBundle(trustDomain: TrustDomain("td.test"), authorities: [root.certificate], revocations: lists)
        ])
    }

    private func list(of authority: TestAuthority, revoking certificates: Certificate...) throws -> RevocationList {
        var plan = RevocationPlan(now: testNow)
        plan.entries = certificates.map { .init($0, reason: 1, date: testNow.addingTimeInterval(-60)) }
        return try RevocationList(derEncoded: plan.der(issuer: authority.certificate.subject, key: authority.key))
    }

    private func refusal(
        of chain: [Certificate], by bundles: TrustBundleSet, _ role: PeerVerifier.Role = .client, now: Date = testNow
    ) -> String? {
        switch PeerVerifier(bundles: bundles).verify(chainDER: chain.map { $0.der() }, role: role, now: now) {
        case .verified: nil
        case .refused(let refusal): "\(refusal)"
        }
    }

    @Test("refuses the revoked leaf in both roles and says why; its neighbour passes")
    func leaf() throws {
        let root = try TestAuthority.root()
        let (revoked, good) = (try root.leaf(), try root.leaf())
        let bundles = try bundle(root, [list(of: root, revoking: revoked)])
        for role in PeerVerifier.Role.allCases {
            let reason = refusal(of: [revoked], by: bundles, role)
            #expect(reason?.hasSuffix("certificate 1 was revoked on 2027-01-15T07:59:00Z (key compromise)") == true)
            #expect(refusal(of: [good], by: bundles, role) == nil)
        }
    }

    @Test("refuses what a revoked intermediate signed, though its leaf is on no list")
    func intermediate() throws {
        let root = try TestAuthority.root()
        let (revoked, good) = (try root.intermediate(), try root.intermediate())
        let bundles = try bundle(root, [list(of: root, revoking: revoked.certificate)])
        let leaf = try revoked.leaf()
        #expect(refusal(of: [leaf, revoked.certificate], by: bundles)?.contains("certificate 2 was revoked") == true)
        #expect(refusal(of: [try good.leaf(), good.certificate], by: bundles) == nil)
    }

    @Test("honours a list of an intermediate for its own leaves only, though another's has the same serial number")
    func serials() throws {
        let root = try TestAuthority.root()
        let (first, second) = (try root.intermediate(), try root.intermediate(name: "other"))
        let serial = Certificate.SerialNumber(UInt64(77))
        let (revoked, good) = (try first.leaf { $0.serial = serial }, try second.leaf { $0.serial = serial })
        let bundles = try bundle(root, [list(of: first, revoking: revoked)])
        #expect(refusal(of: [revoked, first.certificate], by: bundles)?.contains("was revoked") == true)
        #expect(refusal(of: [good, second.certificate], by: bundles) == nil)
    }

    @Test("takes nobody's word but the issuer's: not that of a CA with its name, nor of one that may not sign lists")
    func signer() throws {
        let root = try TestAuthority.root()
        let leaf = try root.leaf()
        #expect(refusal(of: [leaf], by: try bundle(root, [list(of: .root(), revoking: leaf)])) == nil)
        let mute = try TestAuthority.root { $0.usage = KeyUsage(keyCertSign: true) }
        let other = try mute.leaf()
        #expect(refusal(of: [other], by: try bundle(mute, [list(of: mute, revoking: other)])) == nil)
    }

    @Test("finds the other way when only one of two intermediates with one key is revoked")
    func otherWay() throws {
        let root = try TestAuthority.root()
        let first = try root.intermediate()
        let second = try root.intermediate { plan in
            plan.key = first.key
            plan.subjectKeyIdentifier = SubjectKeyIdentifier(hash: first.key.publicKey).keyIdentifier
        }
        let leaf = try first.leaf()
        let bundles = try bundle(root, [list(of: root, revoking: first.certificate)])
        for others in [[first, second], [second, first]] {
            #expect(refusal(of: [leaf] + others.map(\.certificate), by: bundles) == nil)
        }
        #expect(refusal(of: [leaf, first.certificate], by: bundles)?.contains("was revoked") == true)
    }

    @Test("goes on honouring a list that has run out")
    func overdue() throws {
        let root = try TestAuthority.root { $0.notAfter = testNow.addingTimeInterval(86_400) }
        let leaf = try root.leaf { $0.notAfter = testNow.addingTimeInterval(86_400) }
        let list = try list(of: root, revoking: leaf)
        let later = testNow.addingTimeInterval(7200)
        #expect(list.isOverdue(at: later))
        #expect(refusal(of: [leaf], by: try bundle(root, [list]), now: later)?.contains("was revoked") == true)
    }

    @Test("a bundle takes trust away by an authority less or a list more, and not by the opposite")
    func withdrawal() throws {
        let (first, second) = (try TestAuthority.root(), try TestAuthority.root())
        let domain = try TrustDomain("td.test")
        let list = try list(of: first, revoking: first.leaf())
        func bundles(_ roots: [TestAuthority], _ lists: [RevocationList] = []) throws -> TrustBundleSet {
            TrustBundleSet([
                try TrustBundle(trustDomain: domain, authorities: roots.map(\.certificate), revocations: lists)
            ])
        }
        let one = try bundles([first])
        let two = try bundles([first, second])
        #expect(!two.withdraws(from: one) && one.withdraws(from: two))
        #expect(try bundles([first], [list]).withdraws(from: one))
        #expect(try !one.withdraws(from: bundles([first], [list])))
        #expect(!one.withdraws(from: one) && !one.withdraws(from: TrustBundleSet()))
        #expect(TrustBundleSet().withdraws(from: one))
    }

    @Test("a bundle of too many lists, or of too many bytes of them, is none")
    func bounds() throws {
        let root = try TestAuthority.root()
        let list = try list(of: root, revoking: root.leaf())
        #expect(throws: TrustBundleError.self) { try bundle(root, Array(repeating: list, count: 17)) }
        #expect(throws: Never.self) { try bundle(root, Array(repeating: list, count: 16)) }
    }
}
