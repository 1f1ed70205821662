import IPAddressing
import Testing

@Suite("IP addresses")
struct IPAddressTests {
    @Test(
        "parses and prints",
        arguments: [
            ("0.0.0.0", "0.0.0.0"), ("10.244.1.7", "10.244.1.7"), ("255.255.255.255", "255.255.255.255"),
            ("::", "::"), ("::1", "::1"), ("fd00:0:0:1::", "fd00:0:0:1::"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:DB8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"),
            ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"), ("::ffff:10.0.0.1", "10.0.0.1"), ("::ffff:0a00:0001", "10.0.0.1"),
            ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ]
    )
    func parses(text: String, printed: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == printed)
        #expect(IPAddress(printed) == address)
        #expect(IPAddress(bytes: address.bytes) == address)
        #expect(IPAddress(bytes: address.mappedBytes) == address)
    }

    @Test(
        "refuses",
        arguments: [
            "", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.-4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.",
            "a.b.c.d",
            ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::12345", "::g", "1.2.3.4::", "fe80::1%eth0",
            "[::1]", "::1.2.3", "1:2:3:4:5:6:7:8::", "::+1", "1:2:3:4:5:6:7:",
        ]
    )
    func refuses(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test("only 4 or 16 bytes are an address", arguments: [0, 1, 3, 5, 15, 17])
    func wrongByteCount(count: Int) {
        #expect(IPAddress(bytes: [UInt8](repeating: 1, count: count)) == nil)
    }

    @Test(
        "knows loopback",
        arguments: [("127.0.0.1", true), ("127.255.0.9", true), ("::1", true), ("::2", false), ("128.0.0.1", false)])
    func loopback(text: String, expected: Bool) {
        #expect(IPAddress(text)?.isLoopback == expected)
    }

    @Test(
        "a socket address round-trips and refuses its invalid neighbours",
        arguments: [
            ("10.0.0.1:80", true), ("[::1]:65535", true), ("[fd00::2]:15008", true), ("10.0.0.1", false),
            ("10.0.0.1:", false),
            ("10.0.0.1:0", false), ("10.0.0.1:080", false), ("10.0.0.1:65536", false), ("10.0.0.1:+80", false),
            ("::1:80", false),
            ("[10.0.0.1]:80", false), ("[]:80", false), ("[::1]", false), ("host:80", false), (":80", false),
        ]
    )
    func socketAddress(text: String, valid: Bool) {
        let parsed = SocketAddress(text)
        #expect((parsed != nil) == valid)
        #expect(parsed == nil || parsed?.description == text)
    }

    @Test(
        "a prefix contains its addresses only",
        arguments: [
            ("10.0.0.0/8", "10.255.1.2", true), ("10.0.0.0/8", "11.0.0.0", false), ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false), ("fd00::/8", "fdff::1", true), ("fd00::/8", "fe00::1", false),
            ("fd00::1:0/112", "fd00::1:ffff", true), ("fd00::1:0/112", "fd00::2:0", false),
            ("10.0.0.9", "10.0.0.9", true),
        ]
    )
    func prefix(prefix: String, address: String, expected: Bool) throws {
        let prefix = try #require(IPPrefix(prefix))
        #expect(try prefix.contains(#require(IPAddress(address))) == expected)
    }

    @Test(
        "refuses a prefix with host bits, a bad length or junk",
        arguments: ["10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "/8"])
    func badPrefix(text: String) {
        #expect(IPPrefix(text) == nil)
    }
}
