public import IPAddressing

/// Ranges of addresses, to be asked whether an address is in one of them: at a cost that does not depend on how many there are.
public struct AddressRanges: Hashable, Sendable {
    private var prefixes: Set<IPPrefix> = []
    private var lengths: [IPAddress.Family: [Int]] = [:]

    public init(_ prefixes: Set<IPPrefix> = []) {
        self.prefixes = prefixes
        for prefix in prefixes where lengths[prefix.address.family]?.contains(prefix.length) != true {
            lengths[prefix.address.family, default: []].append(prefix.length)
        }
    }

    public func contains(_ address: IPAddress) -> Bool {
        lengths[address.family]?.contains { length in
            IPPrefix(containing: address, length: length).map(prefixes.contains) ?? false
        } ?? false
    }
}
