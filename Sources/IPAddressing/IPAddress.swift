/// An IPv4 or IPv6 address.
///
/// IPv4-mapped IPv6 addresses (`::ffff:a.b.c.d`) become IPv4 wherever a value is made, so that one host never has two
/// names: routing and policy compare these values for equality.
public struct IPAddress: Hashable, Sendable {
    public enum Family: Sendable {
        case v4
        case v6
    }

    /// The address as 128 bits, IPv4 in the low 32 bits of `low` with `family` telling the two apart.
    private let high: UInt64
    private let low: UInt64
    public let family: Family

    /// `value` is in host byte order: 127.0.0.1 is `0x7f00_0001`.
    public init(v4 value: UInt32) {
        high = 0
        low = UInt64(value)
        family = .v4
    }

    private init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
        family = .v6
    }

    /// The two halves are in host byte order: `::1` is `(0, 1)`. A mapped IPv4 address becomes IPv4.
    public init(v6High high: UInt64, low: UInt64) {
        let mapped = high == 0 && low >> 32 == 0xffff
        self = mapped ? IPAddress(v4: UInt32(truncatingIfNeeded: low)) : IPAddress(high: high, low: low)
    }

    /// The 4 or 16 bytes of an address in network byte order; `nil` for any other count.
    public init?(bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4:
            self.init(v4: bytes.reduce(0) { $0 << 8 | UInt32($1) })
        case 16:
            self.init(
                v6High: bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) },
                low: bytes.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) }
            )
        default:
            return nil
        }
    }

    /// Network byte order: 4 bytes for IPv4, 16 for IPv6.
    public var bytes: [UInt8] {
        switch family {
        case .v4: (0..<4).map { UInt8(truncatingIfNeeded: low >> (24 - 8 * $0)) }
        case .v6: bytes16
        }
    }

    /// Network byte order, always 16 bytes: IPv4 in its mapped form, as a dual-stack socket takes it.
    public var mappedBytes: [UInt8] {
        switch family {
        case .v4: [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + bytes
        case .v6: bytes16
        }
    }

    private var bytes16: [UInt8] {
        [high, low].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> (56 - 8 * $0)) } }
    }

    /// Host byte order; `nil` for IPv6.
    public var v4: UInt32? { family == .v4 ? UInt32(truncatingIfNeeded: low) : nil }

    public var isLoopback: Bool {
        switch family {
        case .v4: low >> 24 == 127
        case .v6: high == 0 && low == 1
        }
    }

    public var isUnspecified: Bool { high == 0 && low == 0 }

    public static func unspecified(_ family: Family) -> IPAddress {
        family == .v4 ? IPAddress(v4: 0) : IPAddress(v6High: 0, low: 0)
    }

    public static func loopback(_ family: Family) -> IPAddress {
        family == .v4 ? IPAddress(v4: 0x7f00_0001) : IPAddress(v6High: 0, low: 1)
    }

    /// Bit `index` of the address, the most significant first.
    func bit(_ index: Int) -> Bool {
        switch family {
        case .v4: low >> UInt64(31 - index) & 1 == 1
        case .v6: index < 64 ? high >> UInt64(63 - index) & 1 == 1 : low >> UInt64(127 - index) & 1 == 1
        }
    }

    /// With all bits behind the first `length` ones cleared; `length` is 0 to `bitWidth`.
    func masked(to length: Int) -> IPAddress {
        switch family {
        case .v4: IPAddress(v4: UInt32(truncatingIfNeeded: low & ~(UInt64(0xffff_ffff) >> UInt64(length))))
        case .v6:
            IPAddress(
                high: high & ~(UInt64.max >> UInt64(min(length, 64))),
                low: low & ~(UInt64.max >> UInt64(max(length - 64, 0))))
        }
    }

    /// Width in bits: 32 or 128.
    public var bitWidth: Int { family == .v4 ? 32 : 128 }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted quad, or RFC 5952 text.
    public var description: String {
        switch family {
        case .v4: v4Description
        case .v6: v6Description
        }
    }

    /// Written digit by digit: it is in every request and every line of the access log.
    private var v4Description: String {
        String(unsafeUninitializedCapacity: 15) { text in
            var count = 0
            for octet in bytes {
                if count > 0 {
                    text[count] = UInt8(ascii: ".")
                    count += 1
                }
                for (divisor, isShown) in [(UInt8(100), octet >= 100), (10, octet >= 10), (1, true)] where isShown {
                    text[count] = UInt8(ascii: "0") + octet / divisor % 10
                    count += 1
                }
            }
            return count
        }
    }

    private var v6Description: String {
        let groups = [high, low].flatMap { half in (0..<4).map { UInt16(truncatingIfNeeded: half >> (48 - 16 * $0)) } }
        var longest = 0..<0
        var start: Int?
        for index in 0...8 {
            if index < 8 && groups[index] == 0 {
                start = start ?? index
            } else if let from = start {
                if index - from > longest.count { longest = from..<index }
                start = nil
            }
        }
        // RFC 5952 4.2.2: a single zero group is written out.
        guard longest.count > 1 else { return groups.map(hexadecimal).joined(separator: ":") }
        let before = groups[..<longest.lowerBound].map(hexadecimal).joined(separator: ":")
        let after = groups[longest.upperBound...].map(hexadecimal).joined(separator: ":")
        return before + "::" + after
    }

    private func hexadecimal(_ group: UInt16) -> String { String(group, radix: 16) }
}

extension IPAddress: LosslessStringConvertible {
    /// Parses a dotted quad without leading zeros, or RFC 4291 text without a zone.
    public init?(_ description: String) {
        self.init(text: Array(description.utf8)[...])
    }

    init?(text: ArraySlice<UInt8>) {
        if text.contains(UInt8(ascii: ":")) {
            guard let groups = IPAddress.groups(text) else { return nil }
            self.init(
                v6High: groups.prefix(4).reduce(0) { $0 << 16 | UInt64($1) },
                low: groups.dropFirst(4).reduce(0) { $0 << 16 | UInt64($1) }
            )
        } else {
            guard let value = IPAddress.quad(text) else { return nil }
            self.init(v4: value)
        }
    }

    private static func quad(_ text: ArraySlice<UInt8>) -> UInt32? {
        let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            // A leading zero means octal to some parsers: refused, so that nobody disagrees about the address.
            guard (1...3).contains(part.count), part.count == 1 || part.first != UInt8(ascii: "0") else { return nil }
            var octet: UInt32 = 0
            for digit in part {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
                octet = octet * 10 + UInt32(digit - UInt8(ascii: "0"))
            }
            guard octet <= 255 else { return nil }
            value = value << 8 | octet
        }
        return value
    }

    private static func groups(_ text: ArraySlice<UInt8>) -> [UInt16]? {
        let colon = UInt8(ascii: ":")
        var split: Int?
        var index = text.startIndex
        while index + 1 < text.endIndex {
            if text[index] == colon && text[index + 1] == colon {
                guard split == nil else { return nil }
                split = index
                index += 1
            }
            index += 1
        }
        guard let split else {
            guard let all = run(text, quadAllowed: true), all.count == 8 else { return nil }
            return all
        }
        guard let head = run(text[..<split], quadAllowed: false),
            let tail = run(text[(split + 2)...], quadAllowed: true),
            head.count + tail.count < 8
        else { return nil }
        return head + [UInt16](repeating: 0, count: 8 - head.count - tail.count) + tail
    }

    private static func run(_ text: ArraySlice<UInt8>, quadAllowed: Bool) -> [UInt16]? {
        guard !text.isEmpty else { return [] }
        let parts = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        var groups: [UInt16] = []
        for (offset, part) in parts.enumerated() {
            if part.contains(UInt8(ascii: ".")) {
                guard quadAllowed, offset == parts.count - 1, let value = quad(part) else { return nil }
                groups += [UInt16(truncatingIfNeeded: value >> 16), UInt16(truncatingIfNeeded: value)]
            } else {
                guard (1...4).contains(part.count), part.allSatisfy(isHexadecimal),
                    let group = UInt16(String(decoding: part, as: UTF8.self), radix: 16)
                else { return nil }
                groups.append(group)
            }
        }
        return groups
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"):
            true
        default:
            false
        }
    }
}
