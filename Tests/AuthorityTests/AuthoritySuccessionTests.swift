import FoundationEssentials
import SPIFFE
import Testing
import X509

@testable import Authority

@Suite struct AuthoritySuccessionTests {
    @Test(
        "lifetimes that could not be kept are refused with what to change",
        arguments: [
            (365 * 24, 7 * 24, 29, "at least"), (41 * 24, 7 * 24, 1, "at least"), (365 * 24, 7 * 24, 0, "outside"),
            (365 * 24, 5, 1, "at least"),
        ])
    func lifetimes(root: Int, intermediate: Int, leaf: Int, text: String) throws {
        let lifetimes = AuthorityLifetimes(
            root: .seconds(root * 3600), intermediate: .seconds(intermediate * 3600), leaf: .seconds(leaf * 3600))
        let error = #expect(throws: AuthorityLifetimesFlaw.self) { try lifetimes.validate() }
        if leaf <= 24 { #expect("\(String(describing: error))".isEmpty == false) }
        #expect(error?.description.contains(leaf > 24 ? "outside" : text) == true)
    }

    @Test("the intermediate is replaced at half its life; leaves of both verify, and the old key is gone")
    func replacement() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        let old = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        fixture.clock.advance(.seconds(84 * 3600 - 120))
        try await fixture.authority.maintain()
        #expect(fixture.authority.status().authorities.count == 2)
        let lastOfOld = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        fixture.clock.advance(.seconds(240))
        try await fixture.authority.maintain()
        try await fixture.authority.maintain()
        let records = try await fixture.store.authorities().records
        #expect(records.map(\.state) == [.active, .old, .active])
        #expect(records[1].sealedKey == nil)
        #expect(fixture.authority.bundle.current.sequence == 1)
        let new = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        #expect(new.record.authority != old.record.authority)
        let verifier = PeerVerifier(bundles: fixture.bundles)
        for svid in [lastOfOld, new] {
            guard
                case .verified = verifier.verify(
                    chainDER: svid.certificates.map { $0.der() }, role: .server, now: fixture.clock.now)
            else {
                Issue.record("refused")
                continue
            }
        }
    }

    @Test("an authority that slept past its intermediate's end has a new one at start")
    func longSleep() async throws {
        let directory = TemporaryDirectory()
        let clock = TestClock()
        _ = try await AuthorityFixture(directory: directory, clock: clock).authority
        clock.advance(.seconds(30 * 86400))
        let fixture = try await AuthorityFixture(directory: directory, clock: clock)
        _ = try await fixture.webSVID()
        #expect(fixture.authority.status().authorities.map(\.kind) == [.root, .intermediate])
    }

    @Test("a leaf never outlives its issuer, and the clamp is seen")
    func clamping() async throws {
        let lifetimes = AuthorityLifetimes(root: .seconds(2160), intermediate: .seconds(360), leaf: .seconds(60))
        let fixture = try await AuthorityFixture(lifetimes: lifetimes)
        let node = try await fixture.join("node-a")
        // Nobody maintains: the intermediate's last half minute.
        fixture.clock.advance(.seconds(330))
        let svid = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        #expect(svid.notAfter == svid.certificates[1].notValidAfter)
        #expect(svid.notAfter == fixture.clock.now.advanced(by: .seconds(30)))
        #expect(fixture.authority.status().clamped == 1)
        #expect(fixture.authority.status().warnings.count == 1)
        #expect(
            fixture.audit.all.contains(.signed(svid.record, clampedFrom: fixture.clock.now.advanced(by: .seconds(60)))))
        fixture.clock.advance(.seconds(30))
        await #expect(throws: Denial.self) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
        try await fixture.authority.maintain()
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
    }

    @Test(
        "near the root's end, while a node keeps its successor waiting, intermediates and leaves are cut to it, and status warns"
    )
    func rootEnds() async throws {
        let lifetimes = AuthorityLifetimes(root: .seconds(2160), intermediate: .seconds(360), leaf: .seconds(60))
        let fixture = try await AuthorityFixture(lifetimes: lifetimes)
        let node = try await fixture.join("node-a")
        let end = fixture.root.notValidAfter
        for _ in 0..<71 {
            fixture.clock.advance(.seconds(30))
            _ = try await fixture.authority.renewNode(csr: request(), caller: node)
            try await fixture.authority.maintain()
            let svid = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
            #expect(svid.notAfter <= svid.certificates[1].notValidAfter)
            #expect(svid.certificates[1].notValidAfter <= end)
            #expect(svid.notAfter > fixture.clock.now)
        }
        #expect(fixture.authority.status().warnings.contains { $0.contains("the root is in the last sixth") })
        fixture.clock.advance(.seconds(31))
        await #expect(throws: Denial.self) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
    }

    @Test("a clock that jumps back behind the intermediate's beginning stops issuing, nothing else")
    func clockJumpsBack() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        fixture.clock.advance(.seconds(-3600))
        let denial = await #expect(throws: Denial.self) {
            try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
        }
        guard case .notReady? = denial else {
            Issue.record("\(String(describing: denial))")
            return
        }
        try await fixture.authority.maintain()
        fixture.clock.advance(.seconds(3600))
        _ = try await fixture.authority.issue(podUID: "web-uid", csr: request(), caller: node)
    }

    @Test("a verifier whose clock is up to two minutes late accepts a new leaf")
    func lateVerifier() async throws {
        let fixture = try await AuthorityFixture()
        let svid = try await fixture.webSVID()
        let verifier = PeerVerifier(bundles: fixture.bundles)
        let chain = svid.certificates.map { $0.der() }
        for (skew, expected) in [(-119, true), (-121, false), (3600, true), (3601, false)] {
            let verdict = verifier.verify(
                chainDER: chain, role: .client, now: fixture.clock.now.advanced(by: .seconds(skew)))
            var accepted = false
            if case .verified = verdict { accepted = true }
            #expect(accepted == expected, "\(skew) s")
        }
    }
}
