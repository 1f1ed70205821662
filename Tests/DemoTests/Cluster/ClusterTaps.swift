import IPAddressing
import LinuxNetworking

@testable import culvert

/// Taps on the node's end of every pod's veth, where all of a pod's traffic passes before anything on the node sees it, and on the
/// nodes' own interfaces: the wire between them.
final class ClusterTaps {
    private var taps: [String: PacketTap] = [:]
    private var addresses: [DualAddress] = []
    /// Whose first bytes were seen: a tap that comes later sees only what is sent again.
    private var tunnels: Set<FlowKey> = []
    /// Of taps whose interfaces are gone.
    private var past = WireCount()
    private var missed: UInt64 = 0

    /// Traffic between pods, all that there ever were, is what has to be in tunnels.
    func watch(_ name: String, _ interface: String, in namespace: NetworkNamespace, pod: DualAddress? = nil) throws {
        taps[name] = try namespace.run { try PacketTap(interface: interface) }
        if let pod { addresses.append(pod) }
    }

    func forget(_ name: String) {
        guard let tap = taps.removeValue(forKey: name)?.snapshot() else { return }
        note(tap)
        past = past + count(tap)
        missed += tap.dropped + tap.table.uncounted.packets
    }

    /// Payload between pods so far; each tap that it passed counts it.
    func count() -> WireCount {
        let snapshots = taps.values.map { $0.snapshot() }
        snapshots.forEach(note)
        return snapshots.reduce(past) { $0 + count($1) }
    }

    /// Packets that nobody looked at: with any of these the counts prove nothing.
    var unseen: UInt64 {
        taps.values.map { $0.snapshot() }.reduce(missed) { $0 + $1.dropped + $1.table.uncounted.packets }
    }

    private func note(_ tap: PacketTap.Snapshot) {
        for (key, count) in tap.flows where flow(key, count).isTunnel { tunnels.insert(key) }
    }

    private func count(_ tap: PacketTap.Snapshot) -> WireCount {
        var sum = WireCount()
        for (key, count) in tap.flows {
            guard addresses.contains(where: { $0.contains(key.source.ip) }),
                addresses.contains(where: { $0.contains(key.destination.ip) })
            else { continue }
            if tunnels.contains(key) { sum.tunnel += count.payloadBytes } else { sum.plaintext += count.payloadBytes }
        }
        return sum
    }

    private func flow(_ key: FlowKey, _ count: FlowCount) -> WireFlow {
        WireFlow(
            source: key.source, destination: key.destination, payloadBytes: count.payloadBytes,
            beginsWithTLS: count.beginsWithTLS)
    }

    /// Flows in plaintext, for a failing test to print.
    var plaintextFlows: [String] {
        taps.flatMap { name, tap in
            tap.snapshot().flows.compactMap { key, count in
                count.payloadBytes > 0 && !tunnels.contains(key)
                    ? "\(name): \(key.source) → \(key.destination): \(count.payloadBytes)" : nil
            }
        }.sorted()
    }
}
