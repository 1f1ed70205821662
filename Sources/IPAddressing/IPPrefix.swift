/// A range of addresses that share their first `length` bits (CIDR, RFC 4632).
public struct IPPrefix: Hashable, Sendable {
    public let address: IPAddress
    /// In bits: 0 to 32 for IPv4, 0 to 128 for IPv6.
    public let length: Int

    /// `nil` when the length does not fit the family, or bits beyond it are set: `10.0.0.1/8` is a typing error.
    public init?(_ address: IPAddress, length: Int) {
        guard (0...address.bitWidth).contains(length),
            (length..<address.bitWidth).allSatisfy({ !address.bit($0) })
        else { return nil }
        self.address = address
        self.length = length
    }

    /// The range of this length that the address is in; `nil` when the length does not fit the family.
    public init?(containing address: IPAddress, length: Int) {
        guard (0...address.bitWidth).contains(length) else { return nil }
        self.init(address.masked(to: length), length: length)
    }

    /// The smallest range that has this one and the address in it; `nil` for an address of the other family.
    public func union(_ candidate: IPAddress) -> IPPrefix? {
        guard candidate.family == address.family else { return nil }
        let common = (0..<length).first { candidate.bit($0) != address.bit($0) } ?? length
        return IPPrefix(containing: address, length: common)
    }

    public func contains(_ candidate: IPAddress) -> Bool {
        candidate.family == address.family && (0..<length).allSatisfy { candidate.bit($0) == address.bit($0) }
    }
}

extension IPPrefix: LosslessStringConvertible {
    public var description: String { "\(address)/\(length)" }

    /// Parses `address/length`; an address alone is a prefix of its full width.
    public init?(_ description: String) {
        let parts = description.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let first = parts.first, let address = IPAddress(String(first)) else { return nil }
        guard parts.count == 2 else {
            self.init(address, length: address.bitWidth)
            return
        }
        guard parts[1].utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let length = Int(parts[1])
        else { return nil }
        self.init(address, length: length)
    }
}
