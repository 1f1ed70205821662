import IPAddressing
import SeededRandom
import Testing

@testable import LinuxNetworking

/// Frames put together by hand.
private enum Frame {
    static let payload: [UInt8] = [0x16, 0x03, 0x01, 0x00, 0x05]
    static let addressesV4: [UInt8] = [10, 0, 0, 1, 10, 0, 0, 2]
    static let addressesV6: [UInt8] =
        [0xfd] + [UInt8](repeating: 0, count: 14) + [1] + [0xfd]
        + [UInt8](repeating: 0, count: 14) + [2]

    /// 50000 to 15008, PSH|ACK, 4 bytes of options.
    static let tcp: [UInt8] = [
        0xc3, 0x50, 0x3a, 0xa0, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x18, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1,
    ]

    static func ethernet(_ type: [UInt8], _ packet: [UInt8]) -> [UInt8] {
        [UInt8](repeating: 2, count: 12) + type + packet
    }

    static func v4(fragment: UInt8 = 0, options: [UInt8] = [], protocolNumber: UInt8 = 6, total: Int? = nil) -> [UInt8]
    {
        let total = total ?? 20 + options.count + tcp.count + payload.count
        let header: [UInt8] = [
            0x45 + UInt8(options.count / 4), 0, UInt8(total >> 8), UInt8(total & 0xff), 0, 0, 0x40, fragment, 64,
            protocolNumber, 0, 0,
        ]
        return header + addressesV4 + options + tcp + payload
    }

    static func v6(next: UInt8 = 6, extensions: [UInt8] = [], jumbo: Bool = false) -> [UInt8] {
        let length = jumbo ? 0 : extensions.count + tcp.count + payload.count
        return [0x60, 0, 0, 0, UInt8(length >> 8), UInt8(length & 0xff), next, 64] + addressesV6 + extensions + tcp
            + payload
    }
}

private func parse(_ frame: [UInt8], frameCount: Int? = nil) -> TCPSegment? {
    frame.withUnsafeBytes { TCPSegment.parse($0, frameCount: frameCount ?? frame.count) }
}

@Suite("TCP segments in frames")
struct TCPSegmentTests {
    struct Case: CustomTestStringConvertible {
        let testDescription: String
        let frame: [UInt8]
    }

    private static let v4Type: [UInt8] = [8, 0]
    private static let v6Type: [UInt8] = [0x86, 0xdd]
    /// Hop-by-hop of 8 bytes, destination options of 16, an atomic fragment.
    private static let extensions: [UInt8] =
        [60, 0, 1, 4, 0, 0, 0, 0] + [44, 1] + [UInt8](repeating: 0, count: 14) + [6, 0, 0, 0, 1, 2, 3, 4]

    static let readable = [
        Case(testDescription: "IPv4", frame: Frame.ethernet(v4Type, Frame.v4())),
        Case(testDescription: "options", frame: Frame.ethernet(v4Type, Frame.v4(options: [1, 1, 1, 1, 1, 1, 1, 1]))),
        Case(testDescription: "padding", frame: Frame.ethernet(v4Type, Frame.v4() + [0, 0, 0, 0, 0, 0])),
        Case(testDescription: "oversized by offload", frame: Frame.ethernet(v4Type, Frame.v4(total: 0))),
        Case(testDescription: "VLAN", frame: Frame.ethernet([0x81, 0, 0, 5] + v4Type, Frame.v4())),
        Case(testDescription: "QinQ", frame: Frame.ethernet([0x88, 0xa8, 0, 5, 0x81, 0, 0, 6] + v6Type, Frame.v6())),
        Case(testDescription: "IPv6", frame: Frame.ethernet(v6Type, Frame.v6())),
        Case(testDescription: "jumbo", frame: Frame.ethernet(v6Type, Frame.v6(jumbo: true))),
        Case(testDescription: "extensions", frame: Frame.ethernet(v6Type, Frame.v6(next: 0, extensions: extensions))),
    ]

    @Test("are read with their payload", arguments: readable)
    func reading(_ example: Case) throws {
        let segment = try #require(parse(example.frame))
        #expect([50_000, 15_008] == [segment.source.port, segment.destination.port])
        let isV4 = segment.source.ip.family == .v4
        #expect(segment.source.ip == IPAddress(isV4 ? "10.0.0.1" : "fd00::1"))
        #expect(segment.destination.ip == IPAddress(isV4 ? "10.0.0.2" : "fd00::2"))
        #expect(segment.payloadCount == 5)
        #expect(Array(example.frame[segment.payload]) == Frame.payload)
        #expect(segment.flags.contains(.ack) && !segment.flags.contains(.syn))
    }

    @Test(
        "anything else is none",
        arguments: [
            Case(testDescription: "empty", frame: []),
            Case(testDescription: "ARP", frame: Frame.ethernet([8, 6], Frame.v4())),
            Case(testDescription: "UDP", frame: Frame.ethernet(v4Type, Frame.v4(protocolNumber: 17))),
            Case(testDescription: "later fragment", frame: Frame.ethernet(v4Type, Frame.v4(fragment: 1))),
            Case(testDescription: "ICMPv6", frame: Frame.ethernet(v6Type, Frame.v6(next: 58))),
            Case(
                testDescription: "later IPv6 fragment",
                frame: Frame.ethernet(v6Type, Frame.v6(next: 44, extensions: [6, 0, 0, 8, 0, 0, 0, 1]))),
            Case(testDescription: "version 5", frame: Frame.ethernet(v4Type, [0x55] + Frame.v4().dropFirst())),
            Case(testDescription: "header too short", frame: Frame.ethernet(v4Type, [0x44] + Frame.v4().dropFirst())),
            Case(testDescription: "longer than the frame", frame: Frame.ethernet(v4Type, Frame.v4(total: 9000))),
            Case(testDescription: "shorter than its headers", frame: Frame.ethernet(v4Type, Frame.v4(total: 40))),
            Case(
                testDescription: "three tags",
                frame: Frame.ethernet([0x81, 0, 0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1] + v4Type, Frame.v4())),
        ])
    func others(_ example: Case) {
        #expect(parse(example.frame) == nil)
    }

    @Test("captured only in part, headers count in full or the segment is none", arguments: readable)
    func cut(_ example: Case) {
        let whole = example.frame.count
        for count in 0..<whole {
            guard let segment = parse(Array(example.frame.prefix(count)), frameCount: whole) else { continue }
            #expect(segment.payloadCount == 5)
            #expect(segment.payload.upperBound <= count)
        }
    }

    @Test("random damage never reads beyond the frame")
    func fuzz() {
        var random = SeededGenerator(seed: 42)
        for _ in 0..<20_000 {
            guard var frame = Self.readable.randomElement(using: &random)?.frame else { return }
            for _ in 0..<4 {
                frame[Int.random(in: 12..<frame.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            frame.removeLast(Int.random(in: 0..<frame.count, using: &random))
            guard let segment = parse(frame) else { continue }
            #expect(segment.payload.upperBound <= frame.count && segment.payloadCount >= 0)
        }
    }
}

@Suite("Flow table")
struct FlowTableTests {
    private func segment(_ port: UInt16, _ count: Int) -> TCPSegment {
        TCPSegment(
            source: SocketAddress(IPAddress(v4: 1), port: port), destination: SocketAddress(IPAddress(v4: 2), port: 80),
            flags: .ack, payloadCount: count, payload: 0..<0)
    }

    private func count(_ segment: TCPSegment, _ start: [UInt8], in table: inout FlowTable) {
        start.withUnsafeBytes { table.count(segment, start: $0) }
    }

    @Test("sums by flow, and judges TLS by the first payload alone")
    func counting() throws {
        var table = FlowTable()
        count(segment(1, 0), [], in: &table)
        #expect(table.flows.values.first?.beginsWithTLS == nil)
        count(segment(1, 500), [0x16, 0x03, 0x01], in: &table)
        count(segment(1, 100), [0x47, 0x45], in: &table)
        count(segment(2, 4), [0x47, 0x45, 0x54, 0x20], in: &table)
        count(segment(3, 1), [0x16], in: &table)
        func flow(_ port: UInt16) -> FlowCount? {
            let segment = segment(port, 0)
            return table.flows[FlowKey(source: segment.source, destination: segment.destination)]
        }
        #expect(flow(1)?.packets == 3)
        #expect(flow(1)?.payloadBytes == 600)
        #expect([flow(1), flow(2), flow(3)].map { $0?.beginsWithTLS } == [true, false, false])
    }

    @Test("is bounded, and says what it could not tell apart")
    func bounded() {
        var table = FlowTable()
        for high in 0...1 {
            for low in 0..<UInt32(40_000) {
                let source = SocketAddress(IPAddress(v4: UInt32(high) << 16 | low), port: 1)
                let segment = TCPSegment(
                    source: source, destination: source, flags: .ack, payloadCount: 1, payload: 0..<0)
                count(segment, [1], in: &table)
            }
        }
        #expect(table.flows.count == FlowTable.flowsMax)
        #expect(table.uncounted.packets == UInt64(80_000 - FlowTable.flowsMax))
    }
}
