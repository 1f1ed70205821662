import FoundationEssentials

extension AuthorityReport {
    /// How much of the history people are shown.
    private static let historyShown = 12

    func text(now: Date) -> String {
        var parts = [head, rotationText(now: now), authorityTable(now: now), nodeTable(now: now), historyTable]
        if !federated.isEmpty { parts.insert(federatedTable(now: now), at: 4) }
        if !warnings.isEmpty { parts.append(warnings.map { "warning: \($0)\n" }.joined()) }
        return parts.joined(separator: "\n")
    }

    private var head: String {
        let clamped = clampedSinceStart > 0 ? ", \(clampedSinceStart) cut short by their issuer's end" : ""
        return """
            Trust domain     \(trustDomain)
            Bundle sequence  \(bundleSequence)
            Leaves live      \(leafLifetimeSeconds)s
            Since the start  \(issuedSinceStart) issued, \(deniedSinceStart) denied\(clamped)

            """ + (follows ? "Replica          follows; another one takes the steps\n" : "")
                + (plugIn.map { "Plug-in CA       \($0)\n" } ?? "")
    }

    /// What is under way, what it waits for, and what comes by itself.
    func rotationText(now: Date) -> String {
        var lines: [String] = []
        if let rotation {
            let kind = rotation.emergency ? "Emergency rotation" : "Rotation"
            let reason = rotation.reason.map { " (“\($0)”)" } ?? ""
            lines.append(
                "\(kind) \(rotation.id)\(reason) is under way since \(rotation.startedAt.formatted(.iso8601)); it replaces "
                    + rotation.replaces.joined(separator: ", "))
        } else if plugIn != nil {
            lines.append("A plug-in CA signs: its files decide what follows it.")
        } else {
            lines.append("No rotation is under way.")
        }
        if let waiting {
            lines.append("  waits:  \(waiting.description)")
            for node in nodes where waiting.nodes.contains(node.name) {
                lines.append("          \(lag(node, now: now))")
            }
            if let hint = waiting.hint { lines.append("  hint:   \(hint)") }
        } else if let nextStepAt, let step = nextStep {
            let time = nextStepAt > now ? "in \(Self.remaining(until: nextStepAt, now: now))" : "now"
            lines.append("Next by itself: \(step) \(time), at \(nextStepAt.formatted(.iso8601))")
        }
        return lines.map { $0 + "\n" }.joined()
    }

    private var nextStep: String? {
        guard rotation == nil else { return nil }
        return authorities.contains { $0.kind == "root" && $0.state == "prepared" }
            ? "the prepared root is activated" : "the next root is prepared"
    }

    /// One node that lags, in one line.
    private func lag(_ node: NodeLine, now: Date) -> String {
        let held =
            node.acknowledgedSequence == 0 ? "has acknowledged no bundle" : "has bundle \(node.acknowledgedSequence)"
        let behind = node.behindSince.map { ", behind for \(Self.age($0, now: now))" } ?? ""
        let heard = node.acknowledgedAt.map { ", last heard \(Self.age($0, now: now)) ago" } ?? ""
        return "\(node.name): \(held)\(behind)\(heard)"
    }

    private func authorityTable(now: Date) -> String {
        let rows = authorities.map {
            [
                $0.kind, $0.state, $0.id, $0.notAfter.formatted(.iso8601), Self.remaining(until: $0.notAfter, now: now),
                $0.publishedInBundle.map { "\($0)" } ?? "-", "\($0.leaves)", "\($0.connections)",
            ]
        }
        return Self.table(
            ["KIND", "STATE", "AUTHORITY", "NOT AFTER", "REMAINING", "SINCE BUNDLE", "LEAVES", "CONNECTIONS"], rows)
    }

    private func nodeTable(now: Date) -> String {
        guard !nodes.isEmpty else { return "No node has joined.\n" }
        let rows = nodes.map {
            [
                $0.name, $0.expiresAt.formatted(.iso8601), Self.remaining(until: $0.expiresAt, now: now),
                acknowledged($0, now: now), $0.acknowledgedAt.map { "\(Self.age($0, now: now)) ago" } ?? "never",
                "\($0.leaves)", "\($0.connections)",
            ]
        }
        return Self.table(["NODE", "NOT AFTER", "REMAINING", "BUNDLE", "HEARD", "LEAVES", "CONNECTIONS"], rows)
    }

    private func acknowledged(_ node: NodeLine, now: Date) -> String {
        let behind = node.behindSince.map { " (behind for \(Self.age($0, now: now)))" } ?? ""
        return (node.acknowledgedSequence == 0 ? "none yet" : "\(node.acknowledgedSequence)") + behind
    }

    private func federatedTable(now: Date) -> String {
        let rows = federated.map {
            [
                $0.trustDomain, $0.bundleSequence.map { "\($0)" } ?? "none yet", "\($0.authorities)",
                $0.fetchedAt.map { "\(Self.age($0, now: now)) ago" } ?? "not since the start", $0.url,
            ]
        }
        let problems = federated.compactMap { domain in
            domain.problem.map { problem in
                let since = domain.failingSince.map { " for \(Self.age($0, now: now))" } ?? ""
                return "  \(domain.trustDomain) fails\(since): \(CertificateOutput.printable(problem))\n"
            }
        }
        return Self.table(["FEDERATED DOMAIN", "BUNDLE", "AUTHORITIES", "FETCHED", "URL"], rows) + problems.joined()
    }

    private var historyTable: String {
        let rows = history.prefix(Self.historyShown).map { step in
            let what = step.emergency ? "\(step.step) (emergency)" : step.step
            let reason = [step.reason.map { "“\($0)”" }, step.notWaitedFor.map { "without waiting: \($0)" }]
            return [
                "\(step.position)", step.at.formatted(.iso8601), what, step.authority ?? "-", "\(step.bundleSequence)",
                reason.compactMap(\.self).joined(separator: " "),
            ]
        }
        return Self.table(["STEP", "WHEN", "WHAT", "AUTHORITY", "BUNDLE", "REASON"], rows)
    }

    static func age(_ then: Date, now: Date) -> String {
        now.timeIntervalSince(then) < 1 ? "0s" : remaining(until: now, now: then)
    }

    /// In the two largest units, such as `6d 23h`.
    static func remaining(until end: Date, now: Date) -> String {
        let seconds = Int(end.timeIntervalSince(now).rounded(.down))
        return seconds > 0 ? CertificateOutput.duration(seconds) : "expired"
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
