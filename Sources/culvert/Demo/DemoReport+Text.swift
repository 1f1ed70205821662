import IPAddressing

extension DemoReport {
    /// For people: one row per pair, then one line per check.
    func text(_ ink: Ink) -> String { table(ink) + "\n" + verdict(ink) }

    func table(_ ink: Ink) -> String {
        var table = TextTable(columns: [
            TextTable.Column(title: "FROM → TO"), TextTable.Column(title: "SPIFFE IDs"), TextTable.Column(title: "TLS"),
            TextTable.Column(title: "IN TUNNEL", alignment: .right),
            TextTable.Column(title: "PLAINTEXT", alignment: .right), TextTable.Column(title: "WHAT THE PROGRAMS SAW"),
        ])
        table.rows = pairs.map(\.row)
        return table.render(ink)
    }

    func verdict(_ ink: Ink) -> String {
        var text = ""
        for check in checks {
            let mark = check.passed ? ink("✔", .good) : ink("✘", .bad)
            text += "\(mark) \(check.name): \(check.detail)\n"
        }
        return text
    }
}

extension PairReport {
    fileprivate var row: [[TextTable.Line]] {
        let from = pair.from.node == pair.to.node ? "both on \(pair.from.node)" : "\(pair.from.node) → \(pair.to.node)"
        let identities: [TextTable.Line]
        let tls: [TextTable.Line]
        if tlsVersions.isEmpty {
            let stranger = pair.from.isEnrolled ? pair.to : pair.from
            identities = [TextTable.Line(text: "none (\(stranger.name) is not enrolled)", style: .dim)]
            tls = [TextTable.Line(text: "none", style: .dim)]
        } else {
            identities = [sourceIdentities, destinationIdentities].map {
                TextTable.Line(text: $0.joined(separator: " | "))
            }
            tls = [tlsVersions, ciphers].map { TextTable.Line(text: $0.joined(separator: " | ")) }
        }
        let plaintext: Ink.Style = pair.isProtected ? (wire.plaintext == 0 ? .good : .bad) : .caution
        return [
            [TextTable.Line(text: pair.name, style: .bold), TextTable.Line(text: from, style: .dim)],
            identities, tls, [TextTable.Line(text: Quantity.bytes(wire.tunnel))],
            [TextTable.Line(text: Quantity.bytes(wire.plaintext), style: plaintext)],
            outcomes.flatMap(\.lines),
        ]
    }
}

extension ProgramOutcome {
    fileprivate var lines: [TextTable.Line] {
        guard succeededWholly else {
            let reason = failure.map { ": \($0)" } ?? ""
            return [TextTable.Line(text: "\(program): \(succeeded) of \(attempted)\(reason)", style: .bad)]
        }
        guard !peersSeen.isEmpty else { return [TextTable.Line(text: summary)] }
        let peers = peersSeen.map(\.description).joined(separator: ", ")
        return [TextTable.Line(text: summary), TextTable.Line(text: "caller seen as \(peers)", style: .dim)]
    }
}
