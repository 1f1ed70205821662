import FoundationEssentials
import SPIFFE
import Testing

@testable import Authority

@Suite struct NodeAttestationTests {
    @Test("a token gives its node an SVID, once")
    func once() async throws {
        let fixture = try await AuthorityFixture()
        let token = try await fixture.authority.createJoinToken(node: NodeName("node-a")).token
        let svid = try await fixture.authority.attestNode(token: token.text, csr: request(), source: "test")
        #expect(svid.id.description == "spiffe://culvert.test/culvert/node/node-a")
        await #expect(throws: Denial.tokenUsed) {
            try await fixture.authority.attestNode(token: token.text, csr: request(), source: "test")
        }
        #expect(fixture.authority.status().nodes.map(\.name.description) == ["node-a"])
        #expect(fixture.authority.status().denied == 1)
    }

    @Test("tokens have 256 random bits, are printable, and are stored as a digest only")
    func secrecy() async throws {
        let fixture = try await AuthorityFixture()
        let token = try await fixture.authority.createJoinToken(node: NodeName("node-a")).token
        #expect(token.text.utf8.count == 4 + 64)
        #expect(token.text.utf8.allSatisfy { (0x21...0x7e).contains($0) })
        let secret = Array(token.text.utf8)
        for name in ["authority.sqlite", "authority.sqlite-wal"] {
            let bytes = [UInt8](try Data(contentsOf: .init(filePath: "\(fixture.directory.path)/\(name)")))
            #expect(!bytes.contains(secret), "\(name) holds the token")
        }
        #expect(!fixture.audit.all.contains { "\($0)".contains(token.text) })
    }

    @Test(
        "texts that are no token are unknown",
        arguments: ["", "cvt-", "cvt-00", "other", String(repeating: "cvt-", count: 1000), "cvt-\u{0}", "cvt-é"])
    func unknown(text: String) async throws {
        let fixture = try await AuthorityFixture()
        await #expect(throws: Denial.tokenUnknown) {
            try await fixture.authority.attestNode(token: text, csr: request(), source: "test")
        }
    }

    @Test("a token is good until its last second and expired after it")
    func expiry() async throws {
        let fixture = try await AuthorityFixture()
        let node = try NodeName("node-a")
        let first = try await fixture.authority.createJoinToken(node: node, lifetime: .seconds(60)).token
        let second = try await fixture.authority.createJoinToken(node: node, lifetime: .seconds(60)).token
        fixture.clock.advance(.seconds(59))
        _ = try await fixture.authority.attestNode(token: first.text, csr: request(), source: "test")
        fixture.clock.advance(.seconds(1))
        await #expect(throws: Denial.tokenExpired) {
            try await fixture.authority.attestNode(token: second.text, csr: request(), source: "test")
        }
        // Used is what it says even when it has expired as well: the operator looks for a second user, not for a clock.
        await #expect(throws: Denial.tokenUsed) {
            try await fixture.authority.attestNode(token: first.text, csr: request(), source: "test")
        }
    }

    @Test("of many concurrent attempts with one token exactly one succeeds")
    func concurrent() async throws {
        var limits = AuthorityLimits()
        limits.attestationBurst = 100
        let fixture = try await AuthorityFixture(limits: limits)
        let token = try await fixture.authority.createJoinToken(node: NodeName("node-a")).token
        let outcomes = await withTaskGroup(of: Denial?.self) { group in
            for _ in 0..<32 {
                group.addTask {
                    do throws(Denial) {
                        _ = try await fixture.authority.attestNode(
                            token: token.text, csr: (try? request()) ?? [], source: "test")
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            return await group.reduce(into: [Denial?]()) { $0.append($1) }
        }
        #expect(outcomes.filter { $0 == nil }.count == 1)
        #expect(outcomes.compactMap(\.self).allSatisfy { $0 == .tokenUsed })
        #expect(try await fixture.store.issuances(limit: 100).count == 1)
    }

    @Test("a bad request leaves the token good")
    func badRequestFirst() async throws {
        let fixture = try await AuthorityFixture()
        let token = try await fixture.authority.createJoinToken(node: NodeName("node-a")).token
        await #expect(throws: Denial.self) {
            try await fixture.authority.attestNode(token: token.text, csr: [1, 2, 3], source: "test")
        }
        _ = try await fixture.authority.attestNode(token: token.text, csr: request(), source: "test")
    }

    @Test("an address that guesses is slowed down, others are not")
    func guessing() async throws {
        let fixture = try await AuthorityFixture()
        let token = try await fixture.authority.createJoinToken(node: NodeName("node-a")).token
        for _ in 0..<AuthorityLimits().attestationBurst {
            await #expect(throws: Denial.tokenUnknown) {
                try await fixture.authority.attestNode(token: "cvt-guess", csr: request(), source: "10.0.0.1")
            }
        }
        await #expect(throws: Denial.rateLimited(retryAfter: .seconds(1))) {
            try await fixture.authority.attestNode(token: token.text, csr: request(), source: "10.0.0.1")
        }
        _ = try await fixture.authority.attestNode(token: token.text, csr: request(), source: "10.0.0.2")
    }

    @Test("a node renews its own SVID while it is attested, and only as itself")
    func renewal() async throws {
        let fixture = try await AuthorityFixture()
        let node = try await fixture.join("node-a")
        fixture.clock.advance(.seconds(1800))
        let renewed = try await fixture.authority.renewNode(csr: request(), caller: node)
        #expect(renewed.id == node.id)
        #expect(fixture.authority.status().nodes[0].nextSerial == renewed.record.serial)
        for stranger in [
            "spiffe://culvert.test/culvert/node/node-b", "spiffe://culvert.test/culvert/authority",
            "spiffe://culvert.test/ns/shop/sa/web", "spiffe://other.test/culvert/node/node-a",
            "spiffe://culvert.test/culvert/node/node-a/x", "spiffe://culvert.test/culvert/node",
        ] {
            await #expect(throws: Denial.notAttested(stranger)) {
                try await fixture.authority.renewNode(csr: request(), caller: NodeCaller(stranger: stranger))
            }
        }
    }

    @Test(
        "names that are no node names are refused",
        arguments: ["", ".", "..", "a/b", "a b", "é", "node\n", String(repeating: "n", count: 254)])
    func names(name: String) {
        #expect(throws: NodeNameError.self) { try NodeName(name) }
    }

    @Test("tokens live from a second to seven days", arguments: [0, -1, 7 * 86400 + 1] as [Int64])
    func lifetimes(seconds: Int64) async throws {
        let fixture = try await AuthorityFixture()
        await #expect(throws: JoinTokenError.self) {
            try await fixture.authority.createJoinToken(node: NodeName("node-a"), lifetime: .seconds(seconds))
        }
    }
}
