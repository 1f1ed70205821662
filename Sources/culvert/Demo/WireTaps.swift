import IPAddressing
import LinuxNetworking

/// A tap on `eth0` of every pod, from before the first program runs to the end.
final class WireTaps {
    private let topology: DemoTopology
    private let taps: [DemoTopology.Pod: PacketTap]

    init(_ network: DemoNetwork) throws {
        topology = network.topology
        taps = try network.topology.pods.reduce(into: [:]) { taps, pod in
            taps[pod] = try network[pod].run { try PacketTap(interface: "eth0") }
        }
    }

    var count: Int { taps.count }

    /// What passed between the two pods so far. Each packet passes both taps: for plaintext the one that saw more counts.
    func count(_ pair: DemoTopology.Pair) -> WireCount {
        let ends = [pair.from, pair.to].map { WireCount(flows($0), of: pair) }
        return WireCount(tunnel: ends.map(\.tunnel).min() ?? 0, plaintext: ends.map(\.plaintext).max() ?? 0)
    }

    func count(_ pairs: [DemoTopology.Pair]) -> WireCount { pairs.map { count($0) }.reduce(WireCount(), +) }

    var report: TapReport {
        var report = TapReport(taps: taps.count)
        for (pod, tap) in taps {
            let snapshot = tap.snapshot()
            report.packets += snapshot.packets
            report.missed += snapshot.dropped + snapshot.table.uncounted.packets
            if let failure = snapshot.failure { report.failures.append("\(pod.name): \(failure)") }
            let strays = flows(pod).filter { flow in !topology.pairs.contains { flow.joins($0) } }
            report.strayBytes += strays.reduce(0) { $0 + $1.payloadBytes }
        }
        return report
    }

    private func flows(_ pod: DemoTopology.Pod) -> [WireFlow] {
        guard let tap = taps[pod] else { return [] }
        return tap.snapshot().flows.map { key, count in
            WireFlow(
                source: key.source, destination: key.destination, payloadBytes: count.payloadBytes,
                beginsWithTLS: count.beginsWithTLS)
        }
    }
}
