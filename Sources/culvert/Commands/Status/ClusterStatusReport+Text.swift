import FoundationEssentials

// MARK: - For people

extension ClusterStatusReport {
    /// `lists` says whether pods that are as they should be are listed, too.
    func text(_ ink: Ink, listsAllPods lists: Bool) -> String {
        let shown = pods.filter { lists || $0.isProblem || $0.state == "draining" }
        var parts = [head(ink), nodeTable(ink), namespaceTable(ink)]
        if !shown.isEmpty { parts.append(podTable(shown, ink)) }
        let problems =
            nodes.flatMap { node in node.problems.map { "node \(node.name): \($0)" } }
            + namespaces.flatMap { namespace in namespace.problems.map { "namespace \(namespace.name): \($0)" } }
        if !problems.isEmpty { parts.append(problems.map { ink($0, .bad) + "\n" }.joined()) }
        return parts.joined(separator: "\n")
    }

    private func head(_ ink: Ink) -> String {
        let counts = Dictionary(pods.map { ($0.state, 1) }, uniquingKeysWith: +)
        let words = ["enrolled", "waiting", "draining", "unknown", "excluded"].compactMap { state in
            counts[state].map { "\($0) \(state)" }
        }
        let running = nodes.count { $0.agent == "running" }
        return """
            Culvert    \(isSound ? ink("all well", .good) : ink("something is wrong", .bad))
            Nodes      \(nodes.count), agents on \(running)
            Pods       \(pods.isEmpty ? "none in enrolled namespaces" : words.joined(separator: ", "))
            Authority  \(authorityText(ink))

            """
    }

    private func authorityText(_ ink: Ink) -> String {
        guard let authority else { return "not asked (--admin-socket, or --ca with --svid)" }
        let state = authority.rotation == nil ? "no rotation under way" : "a rotation is under way"
        let warnings = authority.warnings.map { "; " + ink($0, .bad) }.joined()
        return "\(authority.trustDomain), bundle \(authority.bundleSequence), \(state)" + warnings
    }

    private func nodeTable(_ ink: Ink) -> String {
        table(["NODE", "AGENT", "VERSION", "PROXY", "BACKEND", "GUARD", "ENROLLED", "NOT", "CERTIFICATES"], ink, nodes)
        { node in
            let notEnrolled = node.pods["waiting", default: 0] + node.pods["unknown", default: 0]
            return [
                .init(text: node.name),
                .init(text: node.agent, style: node.agent == "running" || node.problems.isEmpty ? .plain : .bad),
                .init(text: node.agentVersion ?? "-"),
                .init(text: node.proxies.map { $0 == 0 ? "none" : node.proxyVersion ?? "connected" } ?? "-"),
                .init(text: node.backend ?? "-"), .init(text: node.guardMode ?? "-"),
                .init(text: "\(node.pods["enrolled", default: 0])"),
                .init(text: "\(notEnrolled)", style: notEnrolled > 0 ? .bad : .plain),
                .init(text: node.leaves.map { "\($0)" } ?? "-"),
            ]
        }
    }

    private func namespaceTable(_ ink: Ink) -> String {
        guard !namespaces.isEmpty else {
            return "No namespace is enrolled: kubectl label namespace NAME \(enrolmentLabel)=true\n"
        }
        return table(["NAMESPACE", "STATE", "MODE", "ENROLLED", "PODS"], ink, namespaces) { namespace in
            [
                .init(text: namespace.name),
                .init(
                    text: namespace.isEnrolled ? "enrolled" : "refused",
                    style: namespace.problems.isEmpty ? .plain : .bad),
                .init(text: namespace.mode), .init(text: "\(namespace.enrolled)"), .init(text: "\(namespace.pods)"),
            ]
        }
    }

    private func podTable(_ pods: [PodLine], _ ink: Ink) -> String {
        table(["POD", "NODE", "STATE", "WHY"], ink, pods) { pod in
            [
                .init(text: "\(pod.namespace)/\(pod.name)"), .init(text: pod.node ?? "-"),
                .init(text: pod.state, style: pod.isProblem ? .bad : .plain),
                .init(text: pod.reason ?? pod.backend ?? ""),
            ]
        }
    }

    private func table<Row>(
        _ titles: [String], _ ink: Ink, _ rows: [Row], _ cells: (Row) -> [TextTable.Line]
    ) -> String {
        var table = TextTable(columns: titles.map { TextTable.Column(title: $0) })
        table.separatesRows = false
        table.rows = rows.map { row in cells(row).map { [$0] } }
        return table.render(ink)
    }
}
