import CLinux
import Glibc
import IPAddressing
import LinuxNetworking

/// An Ethernet frame to everybody, put together by hand, with a text in it by which it is known where it arrives.
struct TestFrame {
    var bytes: [UInt8]

    /// `body` is what follows the IP header.
    static func v4(
        from source: IPAddress, to destination: IPAddress, protocol number: UInt8 = 6,
        options: [UInt8] = [], fragment: UInt16 = 0, _ body: [UInt8]
    ) -> TestFrame {
        var header: [UInt8] = [0x40 | UInt8(5 + options.count / 4), 0]
        header += UInt16(20 + options.count + body.count).bigEndianBytes + [0x12, 0x34] + fragment.bigEndianBytes
        header += [64, number, 0, 0] + source.bytes + destination.bytes + options
        let sum = checksum(header)
        header[10] = UInt8(sum >> 8)
        header[11] = UInt8(sum & 0xff)
        return TestFrame(bytes: ethernet(0x0800) + header + body)
    }

    static func v6(
        from source: IPAddress, to destination: IPAddress, next number: UInt8 = 6, _ body: [UInt8]
    ) -> TestFrame {
        let header: [UInt8] = [0x60, 0, 0, 0] + UInt16(body.count).bigEndianBytes + [number, 64]
        return TestFrame(bytes: ethernet(0x86dd) + header + source.bytes + destination.bytes + body)
    }

    /// A segment of 20 bytes of header; the checksum is wrong, which only the receiving stack looks at.
    static func segment(_ source: UInt16, _ destination: UInt16, flags: UInt8 = 0x18, _ text: String) -> [UInt8] {
        source.bigEndianBytes + destination.bigEndianBytes + [
            0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0,
        ]
            + Array(text.utf8)
    }

    static func datagram(_ source: UInt16, _ destination: UInt16, _ text: String) -> [UInt8] {
        source.bigEndianBytes + destination.bigEndianBytes + UInt16(8 + text.utf8.count).bigEndianBytes + [0, 0]
            + Array(text.utf8)
    }

    /// With 802.1Q tags around what it carries.
    func tagged(_ count: Int = 1) -> TestFrame {
        let tags = (0..<count).flatMap { _ in [0x81, 0x00, 0x00, 0x05] as [UInt8] }
        return TestFrame(bytes: bytes[..<12] + tags + bytes[12...])
    }

    private static func ethernet(_ type: UInt16) -> [UInt8] {
        [UInt8](repeating: 0xff, count: 6) + [2, 0, 0, 0, 0, 9] + type.bigEndianBytes
    }

    static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum = stride(from: 0, to: bytes.count, by: 2).reduce(UInt32(0)) {
            $0 + (UInt32(bytes[$1]) << 8 | UInt32(bytes[$1 + 1]))
        }
        while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
        return ~UInt16(sum)
    }
}

/// The packets of `eth0` in one host's namespace: sends frames as they are, and collects what arrives.
final class FrameSocket {
    private let descriptor: OwnedDescriptor
    private var frames: [[UInt8]] = []

    init(_ namespace: NetworkNamespace) throws {
        let result = try namespace.run { clinux_packet_socket(clinux_interface_index("eth0"), 1 << 20) }
        guard result >= 0 else { throw Errno(code: -result, call: "packet socket") }
        descriptor = OwnedDescriptor(adopting: result)
    }

    func send(_ frame: TestFrame) throws {
        let count = frame.bytes.withUnsafeBytes { clinux_send(descriptor.raw, $0.baseAddress, $0.count) }
        guard count == frame.bytes.count else { throw Errno(code: Int32(-count), call: "send frame") }
    }

    /// Whether a frame with `text` in it has arrived by now.
    func saw(_ text: String) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 2048)
        while true {
            let count = buffer.withUnsafeMutableBytes {
                clinux_packet_receive(descriptor.raw, $0.baseAddress, $0.count)
            }
            guard count > 0 else { break }
            frames.append(Array(buffer[..<min(count, buffer.count)]))
        }
        let wanted = Array(text.utf8)
        return frames.contains { frame in frame.indices.contains { frame[$0...].starts(with: wanted) } }
    }
}

extension UInt16 {
    fileprivate var bigEndianBytes: [UInt8] { [UInt8(self >> 8), UInt8(self & 0xff)] }
}

/// Within ten seconds.
func eventually(_ isTrue: () throws -> Bool) rethrows -> Bool {
    for _ in 0..<2000 {
        if try isTrue() { return true }
        usleep(5_000)
    }
    return false
}
