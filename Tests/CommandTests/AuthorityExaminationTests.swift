import Authority
import FoundationEssentials
import Testing

@testable import culvert

@Suite("What the authority finds wrong with itself")
struct AuthorityExaminationTests {
    private static let now = Date(timeIntervalSince1970: 1_767_225_600)
    private static let day = 86400.0

    private static func issuer(
        _ kind: AuthorityRecord.Kind, _ state: AuthorityRecord.State = .active, life: Double, left: Double
    ) -> AuthorityFacts.Issuer {
        AuthorityFacts.Issuer(
            id: "\(kind)-\(state)", kind: kind, state: state, notBefore: now + (left - life) * day,
            notAfter: now + left * day)
    }

    private static func node(
        _ name: String, acknowledged: UInt64 = 3, left: Double = 0.02, isBanned: Bool = false
    ) -> AuthorityFacts.Node {
        AuthorityFacts.Node(name: name, acknowledged: acknowledged, expiresAt: now + left * day, isBanned: isBanned)
    }

    /// Nothing is wrong with it.
    private static var healthy: AuthorityFacts {
        AuthorityFacts(
            now: now, bundleSequence: 3,
            authorities: [issuer(.root, life: 365, left: 300), issuer(.intermediate, life: 7, left: 5)],
            leafLifetime: 3600, nodeGrace: 7 * day, nodes: [node("a"), node("b")], newestRecord: now - 10,
            signatureObstacle: nil, maintenance: FailureStreak(), bundlePath: "data/bundle.pem", bundleFile: .same,
            files: [AuthorityFacts.File(check: "sealing-key", path: "data/authority.key", mode: 0o600, isOurs: true)],
            diskFree: 1 << 40)
    }

    @Test("is nothing, when nothing is")
    func health() {
        let findings = AuthorityExamination(Self.healthy).findings
        #expect(findings.allSatisfy { $0.verdict == .pass && $0.remedy.isEmpty })
        #expect(
            findings.map(\.check) == [
                "signature", "root-lifetime", "intermediate-lifetime", "leaf-lifetime", "clock",
                "node-acknowledgements", "node-certificates", "bundle-file", "sealing-key", "disk-space", "maintenance",
            ])
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let check: String
        let verdict: AuthorityExamination.Verdict
        let change: @Sendable (inout AuthorityFacts) -> Void
    }

    private static func streak(_ failures: Int) -> FailureStreak {
        var streak = FailureStreak()
        for _ in 0..<failures { streak.failed("disk full") }
        return streak
    }

    private static func file(mode: UInt32 = 0o600, isOurs: Bool = true, problem: String? = nil) -> AuthorityFacts.File {
        AuthorityFacts.File(check: "store", path: "data/authority.sqlite", mode: mode, isOurs: isOurs, problem: problem)
    }

    static let cases: [Case] = [
        Case(testDescription: "no signature", check: "signature", verdict: .fail) { $0.signatureObstacle = "no" },
        Case(testDescription: "a root 59 days from its end", check: "root-lifetime", verdict: .warn) {
            $0.authorities[0] = issuer(.root, life: 365, left: 59)
        },
        Case(testDescription: "a root 61 days from its end", check: "root-lifetime", verdict: .pass) {
            $0.authorities[0] = issuer(.root, life: 365, left: 61)
        },
        Case(testDescription: "a root made for 90 days, half way", check: "root-lifetime", verdict: .pass) {
            $0.authorities[0] = issuer(.root, life: 90, left: 45)
        },
        Case(testDescription: "a root made for 90 days, near its end", check: "root-lifetime", verdict: .warn) {
            $0.authorities[0] = issuer(.root, life: 90, left: 10)
        },
        Case(testDescription: "a root past its end", check: "root-lifetime", verdict: .fail) {
            $0.authorities[0] = issuer(.root, life: 365, left: -1)
        },
        Case(testDescription: "no active root", check: "root-lifetime", verdict: .fail) {
            $0.authorities.remove(at: 0)
        },
        Case(testDescription: "an old root near its end", check: "root-lifetime", verdict: .pass) {
            $0.authorities.append(issuer(.root, .old, life: 365, left: 2))
        },
        Case(testDescription: "an intermediate that was not replaced", check: "intermediate-lifetime", verdict: .warn) {
            $0.authorities[1] = issuer(.intermediate, life: 7, left: 1)
        },
        Case(
            testDescription: "an intermediate that ends before a leaf would", check: "intermediate-lifetime",
            verdict: .fail
        ) { $0.authorities[1] = issuer(.intermediate, life: 7, left: 0.01) },
        Case(testDescription: "no intermediate", check: "intermediate-lifetime", verdict: .fail) {
            $0.authorities.remove(at: 1)
        },
        Case(testDescription: "leaves that live too long", check: "leaf-lifetime", verdict: .warn) {
            $0.leafLifetime = 2 * day
        },
        Case(testDescription: "a clock before the intermediate", check: "clock", verdict: .fail) {
            $0.authorities[1] = issuer(.intermediate, life: 7, left: 8)
        },
        Case(testDescription: "a clock that jumped back", check: "clock", verdict: .fail) {
            $0.newestRecord = now + 3600
        },
        Case(testDescription: "a record a moment ahead", check: "clock", verdict: .pass) { $0.newestRecord = now + 30 },
        Case(testDescription: "no record", check: "clock", verdict: .pass) { $0.newestRecord = nil },
        Case(testDescription: "a node that lags", check: "node-acknowledgements", verdict: .warn) {
            $0.nodes.append(node("late", acknowledged: 2))
        },
        Case(testDescription: "a banned node that lags", check: "node-acknowledgements", verdict: .pass) {
            $0.nodes.append(node("bad", acknowledged: 0, isBanned: true))
        },
        Case(testDescription: "an expired node that lags", check: "node-certificates", verdict: .warn) {
            $0.nodes.append(node("gone", acknowledged: 1, left: -8))
        },
        Case(testDescription: "an expired node", check: "node-certificates", verdict: .warn) {
            $0.nodes.append(node("gone", left: -1))
        },
        Case(testDescription: "another bundle file", check: "bundle-file", verdict: .fail) {
            $0.bundleFile = .different
        },
        Case(testDescription: "no bundle file", check: "bundle-file", verdict: .fail) {
            $0.bundleFile = .unreadable("No such file")
        },
        Case(testDescription: "a store that others may read", check: "store", verdict: .fail) {
            $0.files.append(file(mode: 0o640))
        },
        Case(testDescription: "a store of another user's", check: "store", verdict: .fail) {
            $0.files.append(file(isOurs: false))
        },
        Case(testDescription: "a store that is gone", check: "store", verdict: .fail) {
            $0.files.append(file(problem: "No such file"))
        },
        Case(testDescription: "little space", check: "disk-space", verdict: .warn) { $0.diskFree = 100 << 20 },
        Case(testDescription: "no space", check: "disk-space", verdict: .fail) { $0.diskFree = 1 << 20 },
        Case(testDescription: "unknown space", check: "disk-space", verdict: .warn) { $0.diskFree = nil },
        Case(testDescription: "maintenance that failed once", check: "maintenance", verdict: .warn) {
            $0.maintenance = streak(1)
        },
        Case(testDescription: "maintenance that failed three times", check: "maintenance", verdict: .fail) {
            $0.maintenance = streak(3)
        },
    ]

    @Test("and what to do about it", arguments: cases)
    func finding(_ example: Case) throws {
        var facts = Self.healthy
        example.change(&facts)
        let findings = AuthorityExamination(facts).findings
        let worst = findings.filter { $0.check == example.check && $0.verdict == example.verdict }
        #expect(!worst.isEmpty)
        // One thing is wrong, and nothing else is said to be.
        let others = findings.filter { $0.verdict != .pass && $0.check != example.check }
        #expect(others.isEmpty)
        if example.verdict != .pass { #expect(worst.allSatisfy { !$0.remedy.isEmpty && !$0.detail.isEmpty }) }
    }

    @Test("names ten nodes at most")
    func names() throws {
        var facts = Self.healthy
        facts.nodes = (0..<5000).map { Self.node("node-\(10000 + $0)", acknowledged: 1) }
        let finding = try #require(
            AuthorityExamination(facts).findings.first { $0.check == "node-acknowledgements" })
        #expect(finding.detail.hasSuffix("node-10009 and 4990 more"))
        #expect(finding.detail.utf8.count < 300)
    }
}
