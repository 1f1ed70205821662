import IPAddressing

/// What was found out about one pair of pods, for people and for programs.
struct PairVerification: Encodable, Hashable, Sendable {
    enum Verdict: String, Encodable, Sendable {
        case ok, failed, unknown
    }

    /// One thing that has to be so.
    struct Check: Encodable, Hashable, Sendable {
        /// `source`, `destination` or `pair`.
        let of: String
        let check: String
        let verdict: Verdict
        let detail: String
        /// What to do; nil for what is well.
        let advice: String?
    }

    let schemaVersion = 1
    let node: String
    let source: String
    let destination: String
    let port: UInt16
    var checks: [Check] = []
    /// nil when no connection was made.
    var wire: PairWire?

    init(node: String, source: String, destination: String, port: UInt16) {
        self.node = node
        self.source = source
        self.destination = destination
        self.port = port
    }

    mutating func add(_ of: String, _ check: String, _ verdict: Verdict, _ detail: String, advice: String? = nil) {
        checks.append(Check(of: of, check: check, verdict: verdict, detail: detail, advice: advice))
    }

    /// 0 when all is proven, 1 when something is wrong, 3 when what could be looked at is well, and the rest is elsewhere.
    var exitCode: Int32 {
        if checks.contains(where: { $0.verdict == .failed }) { return 1 }
        return checks.contains { $0.verdict == .unknown } ? 3 : 0
    }
}

/// What passed between the pods while the connection was made; of TCP, in bytes of payload.
struct PairWire: Encodable, Hashable, Sendable {
    /// Where it was counted.
    var interface = ""
    /// From the source to the tunnel's port, and back.
    private(set) var tunnelSent: UInt64 = 0
    private(set) var tunnelReceived: UInt64 = 0
    /// Both ways, by any other port.
    private(set) var plaintext: UInt64 = 0
    /// Packets that were not counted: with any of these the counts prove nothing.
    private(set) var missed: UInt64 = 0

    init() {}

    init(
        _ flows: [WireFlow], missed: UInt64 = 0, from source: Set<IPAddress>, to destination: Set<IPAddress>,
        tunnelPort: UInt16
    ) {
        self.missed = missed
        for flow in flows {
            let isThere = source.contains(flow.source.ip) && destination.contains(flow.destination.ip)
            let isBack = destination.contains(flow.source.ip) && source.contains(flow.destination.ip)
            guard isThere || isBack else { continue }
            // Whichever side opened it.
            if flow.source.port != tunnelPort && flow.destination.port != tunnelPort {
                plaintext += flow.payloadBytes
            } else if isThere {
                tunnelSent += flow.payloadBytes
            } else {
                tunnelReceived += flow.payloadBytes
            }
        }
    }

    /// Something was asked through the tunnel, and answered.
    var isTunnelled: Bool { tunnelSent > 0 && tunnelReceived > 0 }

    private enum CodingKeys: String, CodingKey {
        case interface
        case tunnelSent = "tunnel_bytes_sent"
        case tunnelReceived = "tunnel_bytes_received"
        case plaintext = "plaintext_bytes"
        case missed = "packets_missed"
    }
}

extension PairVerification {
    func text(_ ink: Ink) -> String {
        var table = TextTable(columns: [
            TextTable.Column(title: "OF"), TextTable.Column(title: "CHECK"), TextTable.Column(title: "RESULT"),
            TextTable.Column(title: "FOUND"),
        ])
        table.separatesRows = false
        table.rows = checks.map { check in
            let (word, style): (String, Ink.Style) =
                switch check.verdict {
                case .ok: ("ok", .good)
                case .failed: ("FAILED", .bad)
                case .unknown: ("unknown", .caution)
                }
            let found =
                [TextTable.Line(text: check.detail)]
                + (check.advice.map { [TextTable.Line(text: "→ \($0)", style: .dim)] } ?? [])
            return [
                [TextTable.Line(text: check.of)], [TextTable.Line(text: check.check)],
                [TextTable.Line(text: word, style: style)], found,
            ]
        }
        let pair = "\(source) → \(destination), port \(port)"
        let sentence =
            switch exitCode {
            case 0: ink("Proven", .good) + ": \(pair): the connection is authenticated and encrypted.\n"
            case 1: ink("Not proven", .bad) + ": \(pair): see what FAILED.\n"
            default:
                ink("Proven in part", .caution) + ": \(pair): what is on node \(node) is well; the rest is unknown.\n"
            }
        return table.render(ink) + "\n" + sentence
    }
}
