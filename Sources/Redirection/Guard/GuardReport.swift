import CLibBPF
public import IPAddressing

/// Why the guard refuses a packet.
public enum GuardReason: UInt16, CaseIterable, Sendable {
    /// TCP between enrolled addresses that is not the tunnel.
    case plaintext = 0
    case fragment = 1
    /// IPv4 options, or IPv6 extension headers before TCP.
    case options = 2
    /// Headers that end too soon or contradict themselves.
    case malformed = 3
    /// From a pod, with the source that the node gives to the kubelet's connections.
    case forged = 4
}

public enum GuardDirection: UInt16, CaseIterable, Sendable {
    case fromPod = 0
    case toPod = 1
}

/// What the guard of a pod has refused since it was put there; in audit mode, would have.
public struct GuardCount: Hashable, Sendable {
    public let direction: GuardDirection
    public let reason: GuardReason
    public let packets: UInt64
    public let bytes: UInt64
}

/// One packet that the guard has refused: a sample.
public struct GuardEvent: Hashable, Sendable {
    /// nil when its guard is gone by now.
    public let pod: String?
    public let direction: GuardDirection
    public let reason: GuardReason
    /// False in audit mode.
    public let isDropped: Bool
    /// Port 0 where the packet does not tell.
    public let source: SocketAddress
    public let destination: SocketAddress
}

extension GuardEvent {
    /// nil for what no program of this layout writes.
    init?(_ event: culvert_guard_event, pod: String?) {
        guard let direction = GuardDirection(rawValue: event.key.direction),
            let reason = GuardReason(rawValue: event.key.reason)
        else { return nil }
        self.init(
            pod: pod, direction: direction, reason: reason, isDropped: event.is_dropped != 0,
            source: SocketAddress(IPAddress(event.source), port: event.source_port),
            destination: SocketAddress(IPAddress(event.destination), port: event.destination_port))
    }
}

extension IPAddress {
    init(_ address: culvert_address) {
        // A hundred thousand of them are read every few seconds.
        self = withUnsafeBytes(of: address) { bytes in
            IPAddress(
                v6High: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
                low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
        }
    }
}

extension culvert_address {
    init(_ address: IPAddress) {
        self.init()
        withUnsafeMutableBytes(of: &self) { $0.copyBytes(from: address.mappedBytes) }
    }
}
