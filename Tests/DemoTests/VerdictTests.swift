import FoundationEssentials
import IPAddressing
import Testing

@testable import culvert

@Suite("The demo's verdict")
struct VerdictTests {
    private static let topology = DemoTopology()
    private static let protected = topology.pairs[0]
    private static let open = topology.pairs[4]

    private static func outcome(_ change: (inout ProgramOutcome) -> Void = { _ in }) -> ProgramOutcome {
        var outcome = ProgramOutcome("HTTP")
        outcome.attempted = 20
        outcome.succeeded = 20
        outcome.bytes = 5000
        outcome.summary = "HTTP 200 OK ×20"
        outcome.saw(protected.from.address.v4)
        change(&outcome)
        return outcome
    }

    private static func record(_ changes: [(String, String)] = []) -> AccessRecord {
        let line = changes.reduce(AccessRecordTests.outbound) { line, change in
            line.split(separator: change.0, omittingEmptySubsequences: false).joined(separator: change.1)
        }
        return AccessRecord(line: line)!
    }

    private static func report(
        wire: WireCount = WireCount(tunnel: 9000), records: [AccessRecord] = [record()],
        outcome: ProgramOutcome = outcome()
    ) -> PairReport {
        PairReport(pair: protected, wire: wire, records: records, outcomes: [outcome])
    }

    @Test("is good when every byte was in the tunnel under both identities")
    func good() {
        let check = Self.report().check
        #expect(check.passed, "\(check.detail)")
        #expect(check.name == "client → web")
        #expect(check.detail.contains("0 bytes of plaintext"))
    }

    private static let flaws: [(String, PairReport)] = [
        ("1 B of plaintext crossed the wire", report(wire: WireCount(tunnel: 9000, plaintext: 1))),
        ("the taps saw 4.9 KiB in the tunnel", report(wire: WireCount(tunnel: 4999))),
        ("no proxy logged a connection under mutual TLS", report(records: [])),
        ("without mutual TLS", report(records: [record(), record([("mutual_tls", "none")])])),
        ("expected spiffe://culvert.demo/ns/shop/sa/client", report(records: [record([("sa/client", "sa/mallory")])])),
        ("expected spiffe://culvert.demo/ns/shop/sa/web", report(records: [record(), record([("sa/web", "sa/x")])])),
        ("expected TLSv1.3", report(records: [record([("TLSv1.3", "TLSv1.2")])])),
        (
            "HTTP: 19 of 20 worked: reset",
            report(
                outcome: outcome {
                    $0.succeeded = 19; $0.failed("reset")
                })
        ),
        ("the server saw 10.0.0.12 as the client", report(outcome: outcome { $0.saw(topology.nodes[1].address.v4) })),
        (
            "HTTP: 0 of 0 worked",
            report(
                outcome: outcome {
                    $0.attempted = 0; $0.succeeded = 0
                })
        ),
    ]

    @Test("of an enrolled pair fails for every single flaw, and names it", arguments: 0..<10)
    func flawed(index: Int) {
        let (reason, report) = Self.flaws[index]
        #expect(!report.check.passed)
        #expect(report.check.detail.contains(reason), "\(report.check.detail)")
    }

    @Test("of a pair with a stranger wants plaintext, and no tunnel")
    func strangers() {
        var outcome = ProgramOutcome("HTTP")
        (outcome.attempted, outcome.succeeded) = (1, 1)
        let cases: [(WireCount, Bool)] = [
            (WireCount(plaintext: 1), true), (WireCount(), false), (WireCount(tunnel: 1, plaintext: 1), false),
        ]
        for (wire, passes) in cases {
            let report = PairReport(pair: Self.open, wire: wire, records: [], outcomes: [outcome])
            #expect(report.check.passed == passes, "\(report.check.detail)")
        }
    }

    @Test("of the outage fails when anything got through, hung, survived or leaked")
    func outage() {
        var good = OutageReport(attempted: 3, refused: 3, slowestRefusal: .milliseconds(2))
        good.conversationBrokeAfter = .milliseconds(1)
        #expect(good.check.passed, "\(good.check.detail)")
        let flaws: [(inout OutageReport) -> Void] = [
            { $0.attempted = 0 }, { $0.gotThrough = ["client → web by 10.244.2.2:8080"] },
            { $0.slowestRefusal = .seconds(3) }, { $0.conversationBrokeAfter = nil }, { $0.plaintextBytes = 1 },
        ]
        for flaw in flaws {
            var report = good
            flaw(&report)
            #expect(!report.check.passed)
        }
    }

    @Test("of the recovery fails when traffic stays away, or plaintext came with it")
    func recovery() {
        #expect(RecoveryReport(after: .seconds(1)).check.passed)
        #expect(!RecoveryReport(after: nil, failure: "refused").check.passed)
        #expect(RecoveryReport(after: nil, failure: "refused").check.detail.contains("refused"))
        #expect(!RecoveryReport(after: .seconds(1), plaintextBytes: 1).check.passed)
    }

    @Test("does not believe taps that missed packets or saw none")
    func taps() {
        #expect(TapReport(taps: 4, packets: 10, missed: 0).check.passed)
        #expect(!TapReport(taps: 4, packets: 10, missed: 1).check.passed)
        #expect(!TapReport(taps: 4, packets: 0, missed: 0).check.passed)
    }

    private static func whole(_ pair: PairReport) -> DemoReport {
        var outage = OutageReport(attempted: 3, refused: 3)
        outage.conversationBrokeAfter = .milliseconds(1)
        return DemoReport(
            pairs: [pair], outage: outage, recovery: RecoveryReport(after: .seconds(1)),
            taps: TapReport(taps: 4, packets: 10, missed: 0), durations: [("network", .milliseconds(12))])
    }

    @Test("is shown as a row per pair and a line per check")
    func text() {
        let text = Self.whole(Self.report()).text(Ink(isColoured: false))
        let lines = text.split(separator: "\n")
        #expect(lines[0].hasPrefix("FROM → TO"))
        #expect(lines[2].hasPrefix("client → web     spiffe://culvert.demo/ns/shop/sa/client  TLSv1.3"))
        #expect(lines[2].contains("8.8 KiB        0 B  HTTP 200 OK ×20"))
        #expect(lines[3].hasPrefix("node-a → node-b  spiffe://culvert.demo/ns/shop/sa/web     TLS_AES_128_GCM_SHA256"))
        #expect(lines[3].hasSuffix("caller seen as 10.244.1.2"))
        #expect(lines.filter { $0.hasPrefix("✔ ") }.count == 4)
        #expect(Self.whole(Self.report(records: [])).text(Ink(isColoured: false)).contains("✘ client → web: "))
    }

    @Test("is one JSON document with a version")
    func json() throws {
        struct Document: Decodable {
            struct Pair: Decodable {
                let plaintextBytes: UInt64
                let tunnelBytes: UInt64
                let protected: Bool
                let tlsVersion: String
            }
            struct Check: Decodable {
                let passed: Bool
            }
            let schemaVersion: Int
            let passed: Bool
            let pairs: [Pair]
            let checks: [Check]
            let durations: [String: Double]
        }
        let text = try Self.whole(Self.report()).json()
        let document = try JSONDecoder().decode(Document.self, from: Data(text.utf8))
        #expect(document.schemaVersion == 1)
        #expect(document.passed)
        #expect(document.pairs.map(\.tunnelBytes) == [9000])
        #expect(document.pairs.map(\.plaintextBytes) == [0])
        #expect(document.pairs[0].protected)
        #expect(document.pairs[0].tlsVersion == "TLSv1.3")
        #expect(document.checks.count == 4)
        #expect(document.durations == ["network": 12])
        #expect(text.contains("\"name\" : \"client → web\""))
    }
}
