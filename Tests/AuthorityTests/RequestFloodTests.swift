import FoundationEssentials
import SPIFFE
import Synchronization
import Testing

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

/// Many signing requests at one moment: paced, and none lost.
@Suite("A flood of signing requests", .timeLimit(.minutes(10))) struct RequestFloodTests {
    /// CULVERT_FLOOD_REQUESTS=10000 for the number that the design names; less by default, for signing takes longer in a debug build.
    private static let count = getenv("CULVERT_FLOOD_REQUESTS").flatMap { Int(String(cString: $0)) } ?? 1500
    private static let nodes = 20
    private static var perNode: Int { count / nodes }

    private struct Flood {
        var waiting: [(caller: NodeCaller, uid: String)]
        var serials: [String: String] = [:]
        var other: [Denial] = []
    }

    /// All that wait, at once, each in a call of its own or several in one; the longest that anybody was told to wait.
    private func round(
        _ flood: inout Flood, _ authority: CertificateAuthority, _ csr: [UInt8], together: Int
    ) async -> Duration {
        let calls = Dictionary(grouping: flood.waiting) { $0.caller.id }.values.flatMap { asked in
            stride(from: 0, to: asked.count, by: together).map { Array(asked[$0..<min($0 + together, asked.count)]) }
        }
        flood.waiting = []
        var pause = Duration.zero
        await withTaskGroup(of: [((caller: NodeCaller, uid: String), Result<IssuedSVID, Denial>)].self) { group in
            for call in calls {
                group.addTask {
                    let requests = call.map { PodRequest(podUID: $0.uid, csr: csr, urgency: .firstUse) }
                    return Array(zip(call, await authority.issue(requests, caller: call[0].caller)))
                }
            }
            for await outcomes in group {
                for (asked, outcome) in outcomes {
                    switch outcome {
                    case .success(let svid):
                        if flood.serials.updateValue(svid.record.serial, forKey: asked.uid) != nil {
                            Issue.record("\(asked.uid) was answered twice")
                        }
                    case .failure(.rateLimited(let after)):
                        flood.waiting.append(asked)
                        pause = max(pause, after)
                    case .failure(let denial): flood.other.append(denial)
                    }
                }
            }
        }
        return pause
    }

    @Test("each is signed once, or told when to come back until it is", arguments: [1, 8])
    func flood(together: Int) async throws {
        var limits = AuthorityLimits()
        // A third of them at once, the rest at ten a second.
        limits.nodeBurst = Self.perNode / 3
        limits.nodeSignaturesPerSecond = Double(Self.perNode) / 30
        let pods = (0..<Self.nodes).flatMap { node in
            (0..<Self.perNode).map {
                RegisteredPod(uid: "p\(node)-\($0)", node: "n\(node)", namespace: "s", serviceAccount: "a\($0)")
            }
        }
        let fixture = try await AuthorityFixture(pods: PodTable(pods), limits: limits)
        var callers: [NodeCaller] = []
        for node in 0..<Self.nodes {
            callers.append(try await fixture.join("n\(node)"))
            fixture.clock.advance(.seconds(2))
        }
        let joined = try await fixture.store.issuances(limit: .max).count
        var flood = Flood(waiting: pods.enumerated().map { (callers[$0 / Self.perNode], $1.uid) })
        let (csr, total, began) = (try request(), flood.waiting.count, fixture.clock.now)
        var rounds = 0
        while !flood.waiting.isEmpty, rounds < 1000 {
            let pause = await round(&flood, fixture.authority, csr, together: together)
            rounds += 1
            // Never more than the burst and what has become free since.
            let passed = fixture.clock.now.timeIntervalSince(began)
            let most = limits.nodeBurst + Int(passed * limits.nodeSignaturesPerSecond) + 1
            #expect(flood.serials.count <= most * Self.nodes)
            if rounds == 1 { #expect(!flood.waiting.isEmpty, "nobody was paced") }
            fixture.clock.advance(max(pause, .milliseconds(1)))
        }
        #expect(flood.other.isEmpty, "\(flood.other.prefix(3))")
        #expect(flood.serials.count == total)
        #expect(Set(flood.serials.values).count == total)
        let recorded = Set(try await fixture.store.issuances(limit: .max).map(\.serial))
        #expect(recorded.count == joined + total)
        #expect(recorded.isSuperset(of: flood.serials.values))
        let audited = fixture.audit.all.compactMap { event -> String? in
            if case .signed(let record, _) = event { record.serial } else { nil }
        }
        #expect(Set(audited).isSuperset(of: flood.serials.values))
        #expect(audited.count == Set(audited).count)
    }
}
