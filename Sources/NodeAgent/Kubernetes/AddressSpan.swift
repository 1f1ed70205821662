import IPAddressing

/// The ranges that the virtual addresses of services are taken from, as far as the addresses themselves show: the API does not say.
///
/// Only grows: a range does not become another one's when its services go.
struct AddressSpan: Sendable {
    /// Never less than what a cluster gives its services at least, so that the next service changes nothing.
    private static let lengthMax = [IPAddress.Family.v4: 16, .v6: 112]
    /// What spans more than this cannot be one range of services.
    private static let lengthMin = 8

    private var spans: [IPAddress.Family: IPPrefix] = [:]

    var prefixes: Set<IPPrefix> { Set(spans.values) }

    /// Whether that changed them.
    mutating func add(_ addresses: [IPAddress]) -> Bool {
        var isChanged = false
        for address in addresses where spans[address.family]?.contains(address) != true {
            let least = IPPrefix(containing: address, length: Self.lengthMax[address.family] ?? 0)
            guard let span = spans[address.family]?.union(address) ?? least, span.length >= Self.lengthMin else {
                continue
            }
            spans[address.family] = span
            isChanged = true
        }
        return isChanged
    }
}
