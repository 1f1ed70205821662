import FoundationEssentials
import MeshAPI

/// One node as the commands show it.
struct NodeReport: Encodable, Equatable {
    enum State: String, Encodable {
        /// `bearer`: it has only ever shown tokens, and has no certificate of its own.
        case connected, away, expired, cloned, banned, bearer
    }

    struct Ban: Encodable, Equatable {
        let at: Date
        let reason: String
    }

    struct Leaves: Encodable, Equatable {
        let authority: String
        let count: UInt32
        let oldestExpiry: Date
    }

    let name: String
    let spiffeID: String
    let state: State
    let connected: Bool
    let attestedAt: Date
    let serial: String
    /// Of a renewed certificate that the node was not seen to use yet.
    let nextSerial: String?
    let expiresAt: Date
    let ban: Ban?
    let cloneSeenAt: Date?
    /// 0: none yet.
    let acknowledgedSequence: UInt64
    let reportedAt: Date?
    let version: String?
    let leaves: [Leaves]

    init(_ node: Culvert_Authority_V1_Node, now: Date) {
        name = node.name
        spiffeID = node.spiffeID
        connected = node.connected
        attestedAt = Date(wire: node.attestedAt)
        serial = node.serial
        nextSerial = node.nextSerial.isEmpty ? nil : node.nextSerial
        expiresAt = Date(wire: node.expiresAt)
        ban = node.hasBan ? Ban(at: Date(wire: node.ban.at), reason: node.ban.reason) : nil
        cloneSeenAt = Date(wireIfAny: node.cloneSeenAt)
        acknowledgedSequence = node.report.sequence
        reportedAt = node.hasReport ? Date(wire: node.report.at) : nil
        version = node.hasReport ? node.report.version : nil
        leaves = node.report.leaves.map {
            Leaves(authority: $0.authorityID, count: $0.count, oldestExpiry: Date(wire: $0.oldestExpiry))
        }
        state =
            if node.hasBan { .banned } else if node.cloneSeenAt != 0 { .cloned } else if node.connected {
                .connected
            } else if node.serial.isEmpty { .bearer } else if Date(wire: node.expiresAt) <= now { .expired } else {
                .away
            }
    }

    var leafCount: UInt64 { leaves.reduce(0) { $0 + UInt64($1.count) } }

    /// The bundle that it verifies with, and whether that is an older one than the authority's.
    func bundle(_ current: UInt64) -> String {
        if acknowledgedSequence == 0 { return "none yet" }
        return "\(acknowledgedSequence)\(current > acknowledgedSequence ? " (behind)" : "")"
    }
}

/// What `culvert node list` prints.
struct NodeListReport: Encodable, Equatable {
    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    let trustDomain: String
    let bundleSequence: UInt64
    let nodes: [NodeReport]

    init(_ response: Culvert_Authority_V1_ListNodesResponse, now: Date) {
        trustDomain = response.trustDomain
        bundleSequence = response.bundleSequence
        nodes = response.nodes.map { NodeReport($0, now: now) }
    }

    func text(now: Date, _ ink: Ink) -> String {
        guard !nodes.isEmpty else { return "No node has joined.\n" }
        var table = TextTable(
            columns: ["NODE", "STATE", "NOT AFTER", "REMAINING", "BUNDLE"].map { TextTable.Column(title: $0) }
                + [TextTable.Column(title: "LEAVES", alignment: .right)])
        table.separatesRows = false
        table.rows = nodes.map { node in
            let isAlarming = node.state == .cloned || node.state == .banned
            let state = node.state == .cloned ? "CLONED" : node.state.rawValue
            return [
                [.init(text: node.name)], [.init(text: state, style: isAlarming ? .bad : .plain)],
                [.init(text: node.serial.isEmpty ? "-" : node.expiresAt.formatted(.iso8601))],
                [.init(text: node.serial.isEmpty ? "-" : AuthorityReport.remaining(until: node.expiresAt, now: now))],
                [.init(text: node.bundle(bundleSequence))], [.init(text: "\(node.leafCount)")],
            ]
        }
        return table.render(ink)
    }
}

/// What `culvert node show` prints.
struct NodeDetailReport: Encodable, Equatable {
    struct Signature: Encodable, Equatable {
        let serial: String
        let spiffeID: String
        /// nil: the node's own.
        let podUID: String?
        let issuedAt: Date
        let notAfter: Date
        let authority: String
    }

    let schemaVersion = 1
    let bundleSequence: UInt64
    let node: NodeReport
    /// The newest first.
    let signatures: [Signature]

    init(_ response: Culvert_Authority_V1_ShowNodeResponse, now: Date) {
        bundleSequence = response.bundleSequence
        node = NodeReport(response.node, now: now)
        signatures = response.signatures.map {
            Signature(
                serial: $0.serial, spiffeID: $0.spiffeID, podUID: $0.podUid.isEmpty ? nil : $0.podUid,
                issuedAt: Date(wire: $0.issuedAt), notAfter: Date(wire: $0.notAfter), authority: $0.authorityID)
        }
    }

    func text(now: Date, _ ink: Ink) -> String {
        var lines = [
            ("Node", node.name), ("Identity", node.spiffeID), ("State", node.state.rawValue),
        ]
        if node.serial.isEmpty {
            lines.append(("First seen", "\(node.attestedAt.formatted(.iso8601)), with a token"))
        } else {
            lines += [("Attested", node.attestedAt.formatted(.iso8601)), ("Serial", node.serial)]
        }
        if let next = node.nextSerial { lines.append(("Renewed as", "\(next), not seen in use yet")) }
        if !node.serial.isEmpty {
            let remaining = AuthorityReport.remaining(until: node.expiresAt, now: now)
            lines.append(("Not after", "\(node.expiresAt.formatted(.iso8601)) (\(remaining))"))
        }
        if let ban = node.ban { lines.append(("Banned", "\(ban.at.formatted(.iso8601)): \(ban.reason)")) }
        if let seen = node.cloneSeenAt {
            lines.append(
                ("Cloned", "at \(seen.formatted(.iso8601)) somebody showed a certificate that another replaced"))
        }
        lines.append(("Bundle", node.bundle(bundleSequence)))
        if let at = node.reportedAt {
            lines.append(("Reported", "\(at.formatted(.iso8601)), version \(node.version ?? "")"))
        }
        for leaves in node.leaves {
            let end = leaves.oldestExpiry.formatted(.iso8601)
            lines.append(("Leaves", "\(leaves.count) of authority \(leaves.authority), the first ends at \(end)"))
        }
        let width = lines.map(\.0.count).max() ?? 0
        let head = lines.map { name, value in
            name + String(repeating: " ", count: width + 2 - name.count) + CertificateOutput.printable(value) + "\n"
        }
        return head.joined() + "\n" + signatureTable(ink)
    }

    private func signatureTable(_ ink: Ink) -> String {
        var table = TextTable(
            columns: ["ISSUED", "NOT AFTER", "SERIAL", "IDENTITY"].map { TextTable.Column(title: $0) })
        table.separatesRows = false
        table.rows = signatures.map { signature in
            [
                signature.issuedAt.formatted(.iso8601), signature.notAfter.formatted(.iso8601), signature.serial,
                signature.spiffeID,
            ]
            .map { [TextTable.Line(text: $0)] }
        }
        return table.render(ink)
    }
}
