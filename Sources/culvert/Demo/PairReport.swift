/// Everything the demo knows of one pair: what the taps counted, the proxies logged and the programs saw.
struct PairReport: Sendable {
    let pair: DemoTopology.Pair
    let wire: WireCount
    let records: [AccessRecord]
    let outcomes: [ProgramOutcome]

    /// `records` may be those of other pairs as well.
    init(pair: DemoTopology.Pair, wire: WireCount, records: [AccessRecord], outcomes: [ProgramOutcome]) {
        self.pair = pair
        self.wire = wire
        self.records = records.filter { $0.belongs(to: pair) }
        self.outcomes = outcomes
    }

    private var tunnelled: [AccessRecord] { records.filter(\.isMutualTLS) }

    /// Distinct, as the proxies of both ends logged them. One is as it should be.
    var sourceIdentities: [String] { distinct(tunnelled.map { $0.sourceIdentity ?? "none" }) }
    var destinationIdentities: [String] { distinct(tunnelled.map { $0.destinationIdentity ?? "none" }) }
    var tlsVersions: [String] { distinct(tunnelled.compactMap(\.tlsVersion)) }
    var ciphers: [String] { distinct(tunnelled.compactMap(\.cipher)) }

    private func distinct(_ values: [String]) -> [String] { Array(Set(values)).sorted() }
}

extension PairReport {
    var check: DemoCheck { pair.isProtected ? protectedCheck : openCheck }

    private var protectedCheck: DemoCheck {
        var problems = programProblems
        if wire.plaintext > 0 { problems.append("\(Quantity.bytes(wire.plaintext)) of plaintext crossed the wire") }
        let exchanged = outcomes.reduce(0) { $0 + $1.bytes }
        if wire.tunnel < exchanged {
            let seen = Quantity.bytes(wire.tunnel)
            problems.append(
                "the programs exchanged \(Quantity.bytes(exchanged)), but the taps saw \(seen) in the tunnel")
        }
        if tunnelled.isEmpty { problems.append("no proxy logged a connection under mutual TLS") }
        if records.contains(where: { !$0.isMutualTLS && $0.failure == nil }) {
            problems.append("a proxy logged a connection without mutual TLS")
        }
        for (found, expected) in [
            (sourceIdentities, pair.from.spiffeID), (destinationIdentities, pair.to.spiffeID), (tlsVersions, "TLSv1.3"),
        ] where !tunnelled.isEmpty && found != [expected] {
            let names = found.isEmpty ? "nothing" : found.joined(separator: ", ")
            problems.append("expected \(expected) in the proxies' records, got \(names)")
        }
        return DemoCheck(
            pair.name, problems: problems,
            success: "every byte inside \(tlsVersions.joined()) under both identities, "
                + "\(wire.plaintext) bytes of plaintext on the wire")
    }

    private var openCheck: DemoCheck {
        var problems = programProblems
        if wire.plaintext == 0 { problems.append("expected plaintext on the wire, the taps saw none") }
        if wire.tunnel > 0 { problems.append("\(Quantity.bytes(wire.tunnel)) went to the tunnel port") }
        if !tunnelled.isEmpty { problems.append("a proxy logged a connection under mutual TLS") }
        let stranger = pair.from.isEnrolled ? pair.to.name : pair.from.name
        return DemoCheck(
            pair.name, problems: problems, success: "in plaintext as ever, because \(stranger) is not enrolled")
    }

    private var programProblems: [String] {
        var problems: [String] = []
        for outcome in outcomes {
            if !outcome.succeededWholly {
                let reason = outcome.failure.map { ": \($0)" } ?? ""
                problems.append("\(outcome.program): \(outcome.succeeded) of \(outcome.attempted) worked\(reason)")
            }
            for peer in outcome.peersSeen where !pair.from.address.contains(peer) {
                problems.append("\(outcome.program): the server saw \(peer) as the client")
            }
        }
        return problems
    }
}
