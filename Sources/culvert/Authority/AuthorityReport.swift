import FoundationEssentials
import MeshAPI

/// What `culvert ca status` prints: a table for people, JSON for programs.
struct AuthorityReport: Encodable, Equatable {
    struct AuthorityLine: Encodable, Equatable {
        let id: String
        let kind: String
        let state: String
        let subject: String
        let notBefore: Date
        let notAfter: Date
    }

    struct NodeLine: Encodable, Equatable {
        let name: String
        let id: String
        let attestedAt: Date
        let expiresAt: Date
        /// 0: none yet.
        let acknowledgedSequence: UInt64
        let leaves: UInt32
    }

    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    let trustDomain: String
    let bundleSequence: UInt64
    let authorities: [AuthorityLine]
    let nodes: [NodeLine]
    let issuedSinceStart: UInt64
    let deniedSinceStart: UInt64

    init(_ response: Culvert_Authority_V1_StatusResponse) {
        func date(_ seconds: Int64) -> Date { Date(timeIntervalSince1970: Double(seconds)) }
        trustDomain = response.trustDomain
        bundleSequence = response.bundleSequence
        issuedSinceStart = response.issued
        deniedSinceStart = response.denied
        authorities = response.authorities.map {
            AuthorityLine(
                id: $0.id, kind: $0.kind, state: $0.state, subject: $0.subject, notBefore: date($0.notBefore),
                notAfter: date($0.notAfter))
        }
        nodes = response.nodes.map {
            NodeLine(
                name: $0.name, id: $0.id, attestedAt: date($0.attestedAt), expiresAt: date($0.expiresAt),
                acknowledgedSequence: $0.acknowledgedSequence, leaves: $0.leaves)
        }
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }

    func text(now: Date) -> String {
        let head = """
            Trust domain     \(trustDomain)
            Bundle sequence  \(bundleSequence)
            Since the start  \(issuedSinceStart) issued, \(deniedSinceStart) denied


            """
        let authorityRows = authorities.map {
            [$0.kind, $0.state, $0.id, $0.notAfter.formatted(.iso8601), Self.remaining(until: $0.notAfter, now: now)]
        }
        let nodeRows = nodes.map {
            [
                $0.name, $0.expiresAt.formatted(.iso8601), Self.remaining(until: $0.expiresAt, now: now),
                acknowledged($0), "\($0.leaves)",
            ]
        }
        let authorityTable = Self.table(["KIND", "STATE", "AUTHORITY", "NOT AFTER", "REMAINING"], authorityRows)
        let nodeTable = Self.table(["NODE", "NOT AFTER", "REMAINING", "BUNDLE", "LEAVES"], nodeRows)
        return head + authorityTable + "\n" + (nodes.isEmpty ? "No node has joined.\n" : nodeTable)
    }

    private func acknowledged(_ node: NodeLine) -> String {
        if node.acknowledgedSequence == 0 { return "none yet" }
        let lag = bundleSequence > node.acknowledgedSequence ? " (behind)" : ""
        return "\(node.acknowledgedSequence)\(lag)"
    }

    /// In the two largest units, such as `6d 23h`.
    static func remaining(until end: Date, now: Date) -> String {
        let seconds = Int64(end.timeIntervalSince(now).rounded(.down))
        guard seconds > 0 else { return "expired" }
        let units: [(Int64, String)] = [(86400, "d"), (3600, "h"), (60, "m"), (1, "s")]
        guard let first = units.firstIndex(where: { seconds >= $0.0 }) else { return "0s" }
        let (size, unit) = units[first]
        var text = "\(seconds / size)\(unit)"
        if first + 1 < units.count {
            let (smaller, name) = units[first + 1]
            let rest = seconds % size / smaller
            if rest > 0 { text += " \(rest)\(name)" }
        }
        return text
    }

    private static func table(_ header: [String], _ rows: [[String]]) -> String {
        let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
        return ([header] + rows).map { cells in
            let padded = zip(cells, widths).map { cell, width in
                cell + String(repeating: " ", count: width - cell.count)
            }
            return String(padded.joined(separator: "  ").reversed().drop { $0 == " " }.reversed()) + "\n"
        }.joined()
    }
}
