public import IPAddressing

/// A TCP segment inside an Ethernet frame, found by reading only what is surely there.
public struct TCPSegment: Equatable, Sendable {
    public struct Flags: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8

        public init(rawValue: UInt8) { self.rawValue = rawValue }

        public static let fin = Flags(rawValue: 0x01)
        public static let syn = Flags(rawValue: 0x02)
        public static let rst = Flags(rawValue: 0x04)
        public static let ack = Flags(rawValue: 0x10)
    }

    public let source: SocketAddress
    public let destination: SocketAddress
    public let flags: Flags
    /// Bytes of payload, also those that were not captured.
    public let payloadCount: Int
    /// Where in the frame the captured part of the payload is.
    public let payload: Range<Int>

    private static let etherTypeV4: UInt16 = 0x0800
    private static let etherTypeV6: UInt16 = 0x86dd
    private static let vlanTags: Set<UInt16> = [0x8100, 0x88a8]
    private static let tcp: UInt8 = 6

    /// `nil` for anything but the beginning of a TCP segment over IPv4 or IPv6, also behind VLAN tags and IPv6 extension
    /// headers; so for later fragments. `frame` may be cut short; `frameCount` is its whole length.
    public static func parse(_ frame: UnsafeRawBufferPointer, frameCount: Int) -> TCPSegment? {
        let reader = Reader(bytes: frame)
        var offset = 12
        guard var type = reader.uint16(offset) else { return nil }
        offset += 2
        var tags = 0
        while vlanTags.contains(type), tags < 2 {
            guard let inner = reader.uint16(offset + 2) else { return nil }
            type = inner
            offset += 4
            tags += 1
        }
        switch type {
        case etherTypeV4: return parseV4(reader, offset, frameCount)
        case etherTypeV6: return parseV6(reader, offset, frameCount)
        default: return nil
        }
    }

    private static func parseV4(_ reader: Reader, _ start: Int, _ frameCount: Int) -> TCPSegment? {
        guard let first = reader.uint8(start), first >> 4 == 4, let total = reader.uint16(start + 2),
            let fragment = reader.uint16(start + 6), fragment & 0x1fff == 0,
            reader.uint8(start + 9) == tcp, let source = reader.v4(start + 12), let destination = reader.v4(start + 16)
        else { return nil }
        let headerCount = Int(first & 0xf) * 4
        guard headerCount >= 20 else { return nil }
        // Segmentation offload may make packets too long for the field, which is then 0.
        let end = total == 0 ? frameCount : start + Int(total)
        return parseTCP(reader, start + headerCount, end, frameCount, source, destination)
    }

    private static func parseV6(_ reader: Reader, _ start: Int, _ frameCount: Int) -> TCPSegment? {
        guard let first = reader.uint8(start), first >> 4 == 6, let length = reader.uint16(start + 4),
            var next = reader.uint8(start + 6), let source = reader.v6(start + 8),
            let destination = reader.v6(start + 24)
        else { return nil }
        var offset = start + 40
        let end = length == 0 ? frameCount : offset + Int(length)
        // RFC 8200 section 4.1 allows each header once, but for two.
        for _ in 0..<8 where next != tcp {
            switch next {
            case 0, 43, 60:
                // Hop-by-hop, routing, destination options: length in units of 8 bytes beyond the first.
                guard let following = reader.uint8(offset), let units = reader.uint8(offset + 1) else { return nil }
                next = following
                offset += 8 * (Int(units) + 1)
            case 44:
                guard let following = reader.uint8(offset), let place = reader.uint16(offset + 2), place & 0xfff8 == 0
                else { return nil }
                next = following
                offset += 8
            case 51:
                // Authentication: length in units of 4 bytes beyond the first two (RFC 4302).
                guard let following = reader.uint8(offset), let units = reader.uint8(offset + 1) else { return nil }
                next = following
                offset += 4 * (Int(units) + 2)
            default:
                return nil
            }
        }
        return next == tcp ? parseTCP(reader, offset, end, frameCount, source, destination) : nil
    }

    private static func parseTCP(
        _ reader: Reader, _ start: Int, _ end: Int, _ frameCount: Int, _ source: IPAddress, _ destination: IPAddress
    ) -> TCPSegment? {
        guard let sourcePort = reader.uint16(start), let destinationPort = reader.uint16(start + 2),
            let lengths = reader.uint8(start + 12), let flags = reader.uint8(start + 13)
        else { return nil }
        let headerCount = Int(lengths >> 4) * 4
        let payload = start + headerCount
        guard headerCount >= 20, payload <= end, end <= frameCount else { return nil }
        return TCPSegment(
            source: SocketAddress(source, port: sourcePort),
            destination: SocketAddress(destination, port: destinationPort), flags: Flags(rawValue: flags),
            payloadCount: end - payload,
            payload: min(
                payload, reader.bytes.count)..<max(min(payload, reader.bytes.count), min(end, reader.bytes.count)))
    }

    /// In network byte order; `nil` beyond the end.
    private struct Reader {
        let bytes: UnsafeRawBufferPointer

        func uint8(_ offset: Int) -> UInt8? { load(offset) }
        func uint16(_ offset: Int) -> UInt16? { load(offset).map(UInt16.init(bigEndian:)) }
        func v4(_ offset: Int) -> IPAddress? { load(offset).map { IPAddress(v4: UInt32(bigEndian: $0)) } }

        func v6(_ offset: Int) -> IPAddress? {
            guard let high: UInt64 = load(offset), let low: UInt64 = load(offset + 8) else { return nil }
            return IPAddress(v6High: UInt64(bigEndian: high), low: UInt64(bigEndian: low))
        }

        private func load<Integer: FixedWidthInteger>(_ offset: Int) -> Integer? {
            guard offset >= 0, bytes.count - offset >= MemoryLayout<Integer>.size else { return nil }
            return bytes.loadUnaligned(fromByteOffset: offset, as: Integer.self)
        }
    }
}
