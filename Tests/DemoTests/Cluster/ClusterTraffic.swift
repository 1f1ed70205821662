@testable import culvert

/// All clients of a cluster's pods, and what has become of their connections.
final class ClusterTraffic {
    private var clients: [ClusterClient] = []
    /// Of clients that have ended.
    private var past = ClusterClient.State()

    /// All kinds of connections from one pod to another.
    func start(from client: DemoCluster.RunningPod, to server: DemoCluster.RunningPod, isIPv6: Bool = false) throws {
        clients += try ClusterClient.Kind.allCases.map {
            try ClusterClient($0, from: client, to: server, isIPv6: isIPv6)
        }
    }

    /// Those from or to a pod; all without one.
    func stop(_ pod: String? = nil) { stop { pod == nil || $0.from == pod || $0.to == pod } }

    func stop(from pod: String) { stop { $0.from == pod } }

    private func stop(_ isMeant: (ClusterClient) -> Bool) {
        let ended = clients.filter(isMeant)
        for client in ended { client.beginToStop() }
        clients.removeAll { client in ended.contains { $0 === client } }
        for client in ended {
            client.stop()
            let state = client.state
            past.made += state.made
            past.lines += state.lines
            past.failures += state.failures
            past.wrong += state.wrong
        }
    }

    /// Of all that there have been.
    var state: ClusterClient.State {
        clients.map(\.state).reduce(into: past) { sum, state in
            sum.made += state.made
            sum.lines += state.lines
            sum.failures += state.failures
            sum.wrong += state.wrong
        }
    }

    /// How far each has come: in connections if they are short, else in lines.
    func laggards(_ before: [Int], of one: (ClusterClient) -> Bool) -> [String] {
        zip(before, zip(progress(of: one), clients.filter(one))).filter { $0 + 20 > $1.0 }.map {
            "\($1.1.from) → \($1.1.to) \($1.1.kind) \($0) to \($1.0)"
        }
    }

    func progress(of one: (ClusterClient) -> Bool = { _ in true }) -> [Int] {
        clients.filter(one).map { $0.kind == .visit ? $0.state.made : $0.state.lines }
    }
}
