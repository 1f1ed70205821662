public import IPAddressing

/// One direction of one TCP connection.
public struct FlowKey: Hashable, Sendable {
    public let source: SocketAddress
    public let destination: SocketAddress

    public init(source: SocketAddress, destination: SocketAddress) {
        self.source = source
        self.destination = destination
    }
}

/// What was seen of one flow.
public struct FlowCount: Equatable, Sendable {
    public fileprivate(set) var packets: UInt64 = 0
    /// Of TCP payload; retransmitted ones count again.
    public fileprivate(set) var payloadBytes: UInt64 = 0
    /// Whether the first payload seen looks like the start of TLS (a handshake record, 0x16 0x03); `nil` before there is any.
    public fileprivate(set) var beginsWithTLS: Bool?
}

/// Packets counted by flow; a value, bounded in size.
public struct FlowTable: Equatable, Sendable {
    public static let flowsMax = 65_536

    public private(set) var flows: [FlowKey: FlowCount] = [:]
    /// Of flows beyond the bound.
    public private(set) var uncounted = FlowCount()

    public init() {}

    /// `start` is the captured beginning of the segment's payload.
    mutating func count(_ segment: TCPSegment, start: UnsafeRawBufferPointer) {
        let key = FlowKey(source: segment.source, destination: segment.destination)
        guard flows[key] != nil || flows.count < FlowTable.flowsMax else {
            FlowTable.add(segment, start, to: &uncounted)
            return
        }
        FlowTable.add(segment, start, to: &flows[key, default: FlowCount()])
    }

    private static func add(_ segment: TCPSegment, _ start: UnsafeRawBufferPointer, to count: inout FlowCount) {
        count.packets += 1
        count.payloadBytes += UInt64(segment.payloadCount)
        if segment.payloadCount > 0, count.beginsWithTLS == nil {
            count.beginsWithTLS = start.count >= 2 && start[0] == 0x16 && start[1] == 0x03
        }
    }
}
