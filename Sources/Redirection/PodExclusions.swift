import CLibBPF
public import IPAddressing
import LinuxNetworking

/// What of a pod goes around the proxy and past the guard, in plaintext: each of these is a hole.
public struct PodExclusions: Hashable, Sendable {
    /// Of ports in each direction, and of prefixes; more do not fit the kernel's tables.
    public static let portsMax = Int(CULVERT_EXCLUDED_PORTS)
    public static let prefixesMax = Int(CULVERT_EXCLUDED_PREFIXES)

    /// Ports of the pod that are reached directly.
    public var inboundPorts: Set<UInt16>
    /// Destination ports that the pod reaches directly.
    public var outboundPorts: Set<UInt16>
    /// Destinations that the pod reaches directly, whatever the port.
    public var outboundPrefixes: Set<IPPrefix>

    public init(
        inboundPorts: Set<UInt16> = [], outboundPorts: Set<UInt16> = [], outboundPrefixes: Set<IPPrefix> = []
    ) {
        self.inboundPorts = inboundPorts
        self.outboundPorts = outboundPorts
        self.outboundPrefixes = outboundPrefixes
    }

    public var isEmpty: Bool { inboundPorts.isEmpty && outboundPorts.isEmpty && outboundPrefixes.isEmpty }

    public func union(_ other: PodExclusions) -> PodExclusions {
        PodExclusions(
            inboundPorts: inboundPorts.union(other.inboundPorts),
            outboundPorts: outboundPorts.union(other.outboundPorts),
            outboundPrefixes: outboundPrefixes.union(other.outboundPrefixes))
    }

    /// Whether a connection with these ends, of which `local` is the pod's, may be one that is excluded: which of them opened it
    /// does not show.
    func mayHold(local: SocketAddress, remote: SocketAddress) -> Bool {
        inboundPorts.contains(local.port) || outboundPorts.contains(remote.port)
            || outboundPrefixes.contains { $0.contains(remote.ip) }
    }
}

extension PodExclusions: CustomStringConvertible {
    /// One word each, such as `inbound:9100`, `outbound:25`, `outbound:10.0.0.0/8`.
    public var words: [String] {
        inboundPorts.sorted().map { "inbound:\($0)" } + outboundPorts.sorted().map { "outbound:\($0)" }
            + outboundPrefixes.map { "outbound:\($0)" }.sorted()
    }

    public var description: String { words.joined(separator: ", ") }

    /// Takes one of `words` in; false for anything else.
    mutating func insert(word: Substring) -> Bool {
        let parts = word.split(separator: ":", maxSplits: 1)
        guard parts.count == 2 else { return false }
        switch (parts[0], UInt16(parts[1]), IPPrefix(String(parts[1]))) {
        case ("inbound", let port?, _): inboundPorts.insert(port)
        case ("outbound", let port?, _): outboundPorts.insert(port)
        case ("outbound", nil, let prefix?): outboundPrefixes.insert(prefix)
        default: return false
        }
        return true
    }
}

extension culvert_policy {
    /// Throws `tooManyExclusions`.
    init(_ plan: RedirectionPlan) throws(RedirectionError) {
        self.init()
        let exclusions = plan.exclusions
        guard exclusions.inboundPorts.count <= PodExclusions.portsMax,
            exclusions.outboundPorts.count <= PodExclusions.portsMax,
            exclusions.outboundPrefixes.count <= PodExclusions.prefixesMax
        else { throw .tooManyExclusions(exclusions) }
        if plan.isProbed {
            flags = UInt32(CULVERT_PROBED)
            if let source = plan.probeSource {
                flags |= UInt32(CULVERT_PROBED_BY_SOURCE)
                probe_sources = (culvert_address(source.v4), culvert_address(source.v6))
            }
        }
        inbound_count = UInt32(exclusions.inboundPorts.count)
        outbound_count = UInt32(exclusions.outboundPorts.count)
        prefix_count = UInt32(exclusions.outboundPrefixes.count)
        withUnsafeMutableBytes(of: &inbound_ports) { fill($0, with: exclusions.inboundPorts.sorted()) }
        withUnsafeMutableBytes(of: &outbound_ports) { fill($0, with: exclusions.outboundPorts.sorted()) }
        let prefixes = exclusions.outboundPrefixes.sorted { $0.description < $1.description }
        withUnsafeMutableBytes(of: &outbound_prefixes) { fill($0, with: prefixes.map(culvert_prefix.init)) }
    }
}

extension culvert_policy {
    /// Whether both leave the same alone.
    func isSame(as other: culvert_policy) -> Bool {
        withUnsafeBytes(of: self) { mine in
            withUnsafeBytes(of: other) { mine.elementsEqual($0) }
        }
    }
}

private func fill<Value: BitwiseCopyable>(_ memory: UnsafeMutableRawBufferPointer, with values: [Value]) {
    values.withUnsafeBytes { memory.copyBytes(from: $0) }
}

extension culvert_prefix {
    init(_ prefix: IPPrefix) {
        self.init()
        let isV4 = prefix.address.family == .v4
        first = culvert_address(prefix.address)
        is_v4 = isV4 ? 1 : 0
        let length = prefix.length + (isV4 ? 96 : 0)
        let bytes = (0..<16).map { UInt8(truncatingIfNeeded: 0xff00 >> max(0, min(8, length - 8 * $0))) }
        withUnsafeMutableBytes(of: &mask) { $0.copyBytes(from: bytes) }
    }
}
