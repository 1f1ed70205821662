import FoundationEssentials
import IPAddressing

extension DemoReport {
    /// One document for machines, `schemaVersion` 1. Byte counts are of TCP payload; durations in milliseconds.
    func json() throws -> String { try DocumentFormat.json.text(document) }

    private var document: Document {
        Document(
            passed: passed, pairs: pairs.map { Document.Pair($0) }, checks: checks,
            outage: Document.Outage(
                attempted: outage.attempted, refused: outage.refused,
                slowestRefusal: Quantity.milliseconds(outage.slowestRefusal),
                conversationBrokeAfter: outage.conversationBrokeAfter.map(Quantity.milliseconds),
                plaintextBytes: outage.plaintextBytes),
            recovery: Document.Recovery(
                after: recovery.after.map(Quantity.milliseconds), plaintextBytes: recovery.plaintextBytes),
            taps: Document.Taps(count: taps.taps, packets: taps.packets, missed: taps.missed),
            durations: Dictionary(
                durations.map { ($0.phase, Quantity.milliseconds($0.duration)) }, uniquingKeysWith: { $0 + $1 }))
    }

    fileprivate struct Document: Encodable {
        var schemaVersion = 1
        let passed: Bool
        let pairs: [Pair]
        let checks: [DemoCheck]
        let outage: Outage
        let recovery: Recovery
        let taps: Taps
        let durations: [String: Double]

        struct Pod: Encodable {
            let name: String
            let namespace: String
            let node: String
            let addresses: [String]
            let enrolled: Bool
            /// As the proxies logged it.
            let spiffeID: String?
        }

        struct Program: Encodable {
            let name: String
            let attempted: Int
            let succeeded: Int
            let bytes: UInt64
            let peersSeen: [String]
            let failure: String?
        }

        struct Pair: Encodable {
            let from: Pod
            let to: Pod
            let `protected`: Bool
            let tlsVersion: String?
            let cipher: String?
            let tunnelBytes: UInt64
            let plaintextBytes: UInt64
            let programs: [Program]
        }

        struct Outage: Encodable {
            let attempted: Int
            let refused: Int
            let slowestRefusal: Double
            let conversationBrokeAfter: Double?
            let plaintextBytes: UInt64
        }

        struct Recovery: Encodable {
            let after: Double?
            let plaintextBytes: UInt64
        }

        struct Taps: Encodable {
            let count: Int
            let packets: UInt64
            let missed: UInt64
        }
    }
}

extension DemoReport.Document.Pair {
    fileprivate init(_ report: PairReport) {
        from = DemoReport.Document.Pod(report.pair.from, report.sourceIdentities)
        to = DemoReport.Document.Pod(report.pair.to, report.destinationIdentities)
        protected = report.pair.isProtected
        tlsVersion = report.tlsVersions.isEmpty ? nil : report.tlsVersions.joined(separator: ",")
        cipher = report.ciphers.isEmpty ? nil : report.ciphers.joined(separator: ",")
        tunnelBytes = report.wire.tunnel
        plaintextBytes = report.wire.plaintext
        programs = report.outcomes.map { outcome in
            DemoReport.Document.Program(
                name: outcome.program, attempted: outcome.attempted, succeeded: outcome.succeeded, bytes: outcome.bytes,
                peersSeen: outcome.peersSeen.map(\.description), failure: outcome.failure)
        }
    }
}

extension DemoReport.Document.Pod {
    fileprivate init(_ pod: DemoTopology.Pod, _ identities: [String]) {
        name = pod.name
        namespace = pod.namespace
        node = pod.node
        addresses = pod.address.both.map(\.description)
        enrolled = pod.isEnrolled
        spiffeID = identities.isEmpty ? nil : identities.joined(separator: ",")
    }
}
