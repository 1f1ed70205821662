import KubernetesKit
import LinuxNetworking
import NamespaceKit
import Testing

@testable import culvert

/// What is done to a cluster under load, step by step, and what has to be true after each.
final class ClusterPlay {
    let cluster: DemoCluster
    let traffic = ClusterTraffic()
    var report = ClusterReport()
    private var before: [String: String] = [:]

    /// How things were at a moment.
    struct Mark {
        let time = ContinuousClock.now
        let state: ClusterClient.State
        let wire: WireCount
    }

    init(_ cluster: DemoCluster) { self.cluster = cluster }

    // MARK: - Steps

    /// Culvert on all nodes, pods in a namespace that is not enrolled, and traffic.
    func begin() async throws {
        let nodes = cluster.network.nodes
        try await cluster.startAuthority()
        for node in nodes {
            try await cluster.replaceAgent(of: node)
            _ = try await cluster.startProxy(of: node)
        }
        for (name, node) in [
            ("web-a", nodes[0]), ("db-a", nodes[0]), ("web-b", nodes[1]), ("db-b", nodes[1]), ("old-b", nodes[1]),
        ] {
            try await cluster.run(name, on: node) { before[name] = try inventory($0) }
        }
        let mark = mark()
        try startTraffic()
        try await progress()
        try close("not enrolled", since: mark, isProtected: false)
        #expect(cluster.taps.count().plaintext > 0, "the taps see nothing")
    }

    func label() async throws {
        let mark = mark()
        let times = try await enrolled { [cluster] in
            try await cluster.kubectl("label", "namespace", DemoCluster.namespace, "\(DemoCluster.label)=true")
        }
        report.enrolled = times
        let protected = self.mark()
        try await progress()
        // Those from before are reset, for they are not encrypted.
        try close("kubectl label", since: mark, plaintextSince: protected) { $0.began < protected.time }
    }

    /// Only connections of the pod itself fail.
    func delete(_ name: String) async throws {
        let mark = mark()
        let (node, port) = try await cluster.delete(name)
        traffic.stop(name)
        try await progress()
        // Nobody holds its network namespace: the node's end of its veth is gone with it.
        try await cluster.wait("the network namespace of \(name) to go") {
            try node.namespace.run { TestNetwork.shell("ip -o link show \(port) 2>/dev/null") }.isEmpty
        }
        try close("kubectl delete pod", since: mark) { $0.isOf(name) }
    }

    func replaceAgents() async throws {
        for node in cluster.network.nodes {
            let mark = mark()
            try await cluster.replaceAgent(of: node)
            try await progress()
            try close("new agent on \(node.name)", since: mark)
        }
    }

    /// What is new is the successor's; what there is has the drain's time to end.
    func replaceProxies() async throws {
        for node in cluster.network.nodes {
            let mark = mark()
            let old = try #require(try await cluster.startProxy(of: node))
            try await progress()
            try await cluster.wait("the old proxy of \(node.name) to end") { !old.isRunning }
            #expect(old.succeeded, "\(old.ending ?? "")")
            let ended = self.mark()
            try await progress()
            try close("new proxy on \(node.name)", since: mark) { $0.kind == .lasting && $0.began < ended.time }
        }
    }

    /// A node loses its power; it and its pods come again, one of them as the same object.
    func restart(_ name: String) async throws {
        let mark = mark()
        let node = try #require(cluster.network.nodes.first { $0.name == name })
        let lost = try cluster.crash(node)
        for pod in lost { traffic.stop(from: pod) }
        // Those that have nothing to do with it go on.
        try await progress { !lost.contains($0.to) }
        try close("node is lost", since: mark) { failure in lost.contains { failure.isOf($0) } }

        let again = self.mark()
        for pod in lost { traffic.stop(pod) }
        let started = try await cluster.restart(node)
        for (index, pod) in lost.enumerated() {
            try await cluster.runAgain(pod, on: started, isSameObject: index == 0) { before[pod] = try inventory($0) }
        }
        try startTraffic { lost.contains($0) || lost.contains($1) }
        try await progress()
        try close("node is back", since: again) { failure in failure.ended < again.time }
        report.notes.append("\(name) was lost with \(lost.joined(separator: ", "))")
    }

    func unlabel() async throws {
        let mark = mark()
        let output = try await cluster.kubectl("label", "namespace", DemoCluster.namespace, "\(DemoCluster.label)-")
        #expect(output.succeeded, "\(output.error)")
        for name in cluster.pods.keys.sorted() {
            let isOut = await cluster.server.wait(for: .pods, DemoCluster.namespace, name, atMost: .seconds(60)) {
                $0?["metadata"]["annotations"]["culvert.dev/status"].string == nil
            }
            #expect(isOut, "\(name) is still enrolled\n\(cluster.logTails)")
        }
        let out = self.mark()
        try await progress()
        // What goes through the proxy is given its time to end; what begins while one node knows and the other does not may fail.
        try close("kubectl label -", since: mark, isProtected: false) { $0.began < out.time }
        let late = traffic.state.failures.filter {
            $0.kind != .lasting && $0.began >= mark.time && $0.began < out.time
        }
        report.notes.append("new connections that failed while the label's removal was on its way: \(late.count)")
        #expect(cluster.taps.count().plaintext > out.wire.plaintext)
        traffic.stop()
        for pod in cluster.pods.values { try await expectTraceless(pod) }
    }

    // MARK: - Parts

    /// Across nodes and within one, both families.
    private static let flows: [(from: String, to: String, isIPv6: Bool)] = [
        ("web-a", "db-b", false), ("web-a", "old-b", true), ("web-a", "db-a", false),
        ("web-b", "db-a", true),
    ]

    private func startTraffic(_ isWanted: (_ from: String, _ to: String) -> Bool = { _, _ in true }) throws {
        for flow in Self.flows where isWanted(flow.from, flow.to) {
            guard let from = cluster.pods[flow.from], let to = cluster.pods[flow.to] else { continue }
            try traffic.start(from: from, to: to, isIPv6: flow.isIPv6)
        }
    }

    func mark() -> Mark {
        Mark(state: traffic.state, wire: cluster.taps.count())
    }

    /// Every client goes on: with connections that it makes now, and with those that it has.
    func progress(of one: (ClusterClient) -> Bool = { _ in true }) async throws {
        let before = traffic.progress(of: one)
        var after = before
        try await cluster.wait(
            "clients to go on: \(traffic.laggards(before, of: one)), \(traffic.state.failures.suffix(5))"
        ) {
            after = traffic.progress(of: one)
            return zip(before, after).allSatisfy { $1 >= $0 + 20 }
        }
    }

    /// Puts a step on the report. Only connections that `isDesigned` says may have failed in it.
    func close(
        _ name: String, since mark: Mark, plaintextSince protected: Mark? = nil, isProtected: Bool = true,
        isDesigned: (ClusterClient.Failure) -> Bool = { _ in false }
    ) throws {
        let now = self.mark()
        let failures = now.state.failures.filter { $0.ended >= mark.time }
        let failed = failures.filter { !isDesigned($0) }
        let plaintext = now.wire.plaintext - (protected ?? mark).wire.plaintext
        report.steps.append(
            .init(
                name: name, seconds: (now.time - mark.time) / .seconds(1), made: now.state.made - mark.state.made,
                byDesign: failures.count - failed.count, failed: failed.count, plaintext: plaintext,
                tunnelled: now.wire.tunnel - mark.wire.tunnel))
        #expect(failed.isEmpty, "\(name): \(failed.prefix(10))")
        #expect(now.state.wrong.isEmpty, "\(name): \(now.state.wrong.prefix(10))")
        #expect(!isProtected || plaintext == 0, "\(name): \(cluster.taps.plaintextFlows.suffix(20))")
        #expect(cluster.taps.unseen == 0, "\(name)")
    }

    /// Does something, and says how long each pod that runs took to be enrolled from when its namespace had the label in the API.
    private func enrolled(
        by act: () async throws -> ProcessOutput
    ) async throws -> [(pod: String, time: Duration)] {
        let (server, names) = (cluster.server, cluster.pods.keys.sorted())
        let label = Task {
            _ = await server.wait(for: .namespaces, "", DemoCluster.namespace, atMost: .seconds(60)) {
                $0?["metadata"]["labels"][DemoCluster.label].string == "true"
            }
            return ContinuousClock.now
        }
        let pods = names.map { name in
            Task {
                let isEnrolled = await server.wait(for: .pods, DemoCluster.namespace, name, atMost: .seconds(60)) {
                    $0?["metadata"]["annotations"]["culvert.dev/status"].string?.contains("\"enrolled\"") == true
                }
                return isEnrolled ? ContinuousClock.now : nil
            }
        }
        let output = try await act()
        #expect(output.succeeded, "\(output.error)")
        let labelled = await label.value
        var times: [(pod: String, time: Duration)] = []
        for (name, pod) in zip(names, pods) {
            let end = try #require(await pod.value, "\(name) is not enrolled\n\(cluster.logTails)")
            times.append((name, end - labelled))
        }
        return times
    }

    /// Everything in a pod, and at the node's end of its veth, that somebody could have left something in.
    private func inventory(_ pod: DemoCluster.RunningPod) throws -> String {
        let port = pod.place.port
        let end = try pod.node.namespace.run {
            TestNetwork.shell(
                """
                (ip -details address show \(port) | sed 's/_timer *[0-9.]*//g'; tc qdisc show dev \(port)
                tc filter show dev \(port) ingress; tc filter show dev \(port) egress; nft list ruleset) 2>&1
                """)
        }
        // The program is started after the network.
        return (try NamespaceInventory.text(of: pod.place.namespace, isThorough: false) + "\n" + end)
            .split(separator: "\n").filter { !$0.contains(":\(DemoTopology.Program.echo.port)") }
            .joined(separator: "\n")
    }

    /// What ended a moment ago may take another one to be gone.
    private func expectTraceless(_ pod: DemoCluster.RunningPod) async throws {
        var after = ""
        let end = ContinuousClock.now + .seconds(20)
        repeat {
            after = try inventory(pod)
            if after == before[pod.name] { return }
            try await Task.sleep(for: .milliseconds(50))
        } while .now < end
        let difference = after.split(separator: "\n").difference(from: (before[pod.name] ?? "").split(separator: "\n"))
        #expect(difference.map { "\($0)" } == [], "\(pod.name)")
    }
}
