import IPAddressing
import SeededRandom
import Testing

@testable import LinuxNetworking

/// Hexadecimal with spaces for reading.
private func bytes(_ text: String) -> [UInt8] {
    let digits = text.filter { !$0.isWhitespace }
    return stride(from: 0, to: digits.count, by: 2).compactMap { offset in
        let start = digits.index(digits.startIndex, offsetBy: offset)
        return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
    }
}

private let loopRule = RoutingRule(family: .v4, mark: 0x53a, table: 133, priority: 100)

@Suite("Netlink messages")
struct NetlinkMessageTests {
    struct Case: CustomTestStringConvertible {
        let testDescription: String
        let message: NetlinkMessage
        let expected: String
    }

    /// Little-endian; header, fixed part, attributes.
    static let cases = [
        Case(
            testDescription: "rule fwmark 0x53a lookup 133 pref 100", message: RouteRequest.addRule(loopRule),
            expected: """
                3c000000 2000 0506 00000000 00000000  02000000 85000001 00000000
                0800 0600 64000000  0800 0a00 3a050000  0800 1000 ffffffff  0800 0f00 85000000
                """),
        Case(
            testDescription: "no rule", message: RouteRequest.deleteRule(loopRule),
            expected: """
                3c000000 2100 0500 00000000 00000000  02000000 85000001 00000000
                0800 0600 64000000  0800 0a00 3a050000  0800 1000 ffffffff  0800 0f00 85000000
                """),
        Case(
            testDescription: "local default dev lo table 133 src",
            message: RouteRequest.addLocalRoute(
                .v4, table: 133, link: 1, preferredSource: IPAddress(v4: 0x0af4_0102)),
            expected: """
                34000000 1800 0505 00000000 00000000  02000000 8503fe02 00000000
                0800 0f00 85000000  0800 0400 01000000  0800 0700 0af40102
                """),
        Case(
            testDescription: "no IPv6 local default", message: RouteRequest.deleteLocalRoute(.v6, table: 133, link: 1),
            expected: """
                2c000000 1900 0500 00000000 00000000  0a000000 85030002 00000000
                0800 0f00 85000000  0800 0400 01000000
                """),
        Case(
            testDescription: "unicast default via",
            message: RouteRequest.addRoute(
                to: IPPrefix("0.0.0.0/0")!, via: IPAddress("10.0.0.1")!, link: nil, table: 254),
            expected: """
                2c000000 1800 0505 00000000 00000000  02000000 fc030001 00000000
                0800 0f00 fe000000  0800 0500 0a000001
                """),
        Case(
            testDescription: "IPv6 address without detection",
            message: RouteRequest.addAddress(IPAddress("fd00::2")!, length: 64, link: 7),
            expected: """
                40000000 1400 0505 00000000 00000000  0a400200 07000000
                1400 0200 fd000000000000000000000000000002  1400 0100 fd000000000000000000000000000002
                """),
        Case(
            testDescription: "veth with its peer elsewhere",
            message: RouteRequest.createVeth("v0", peer: "eth0", peerNamespace: 9),
            expected: """
                60000000 1000 0506 00000000 00000000  00000000 00000000 00000000 00000000
                0700 0300 763000 00
                3800 1200  0800 0100 76657468
                  2c00 0200  2800 0100  00000000 00000000 00000000 00000000  0900 0300 6574683000 000000
                  0800 1c00 09000000
                """),
        Case(
            testDescription: "link up", message: RouteRequest.setUp(3),
            expected: "20000000 1000 0500 00000000 00000000  00000000 03000000 01000000 01000000"),
        Case(
            testDescription: "list TCP sockets", message: SocketDiagnostics.listRequest(.v6),
            expected: "48000000 1400 0103 00000000 00000000  0a060000 3e1b0000" + String(repeating: "00", count: 48)),
    ]

    @Test("has exactly the bytes the kernel expects", arguments: cases)
    func encoding(_ example: Case) {
        #expect(example.message.bytes == bytes(example.expected))
    }

    @Test("a reply is parsed into messages and attributes; cut anywhere, it is refused or shorter, never read beyond")
    func parsing() throws {
        let datagram = RouteRequest.addRule(loopRule).bytes + RouteRequest.setUp(3).bytes
        let replies = try #require(NetlinkReply.parse(datagram[...]))
        #expect(replies.map(\.type) == [32, 16])
        #expect(RoutingRule(replies[0], .v4) == loopRule)
        #expect(RoutingRule(replies[0], .v6) == nil)
        for count in 0..<datagram.count {
            let parsed = NetlinkReply.parse(datagram[..<count])
            #expect(parsed == nil || count == 0 || count == 60)
        }
    }

    @Test("random bytes never crash the decoders")
    func fuzz() {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<20_000 {
            var noise = (0..<Int.random(in: 0..<160, using: &random)).map { _ in UInt8.random(in: 0...9, using: &random)
            }
            if noise.count >= 4, Bool.random(using: &random) {
                noise.replaceSubrange(0..<4, with: [UInt8(noise.count), 0, 0, 0])
            }
            for reply in NetlinkReply.parse(noise[...]) ?? [] {
                _ = InterfaceAddress(reply)
                _ = InstalledRoute(reply, .v6)
                _ = RoutingRule(reply, .v4)
                _ = SocketDiagnostics.TCPSocketEntry(reply)
            }
        }
    }
}
