import IPAddressing

/// The IPv4 and the IPv6 address of one machine or service.
struct DualAddress: Hashable, Sendable {
    let v4: IPAddress
    let v6: IPAddress

    /// Of constants of this program: text that is no address is a mistake in it.
    init(_ v4: String, _ v6: String) {
        self.v4 = IPAddress(v4)!
        self.v6 = IPAddress(v6)!
    }

    var both: [IPAddress] { [v4, v6] }

    func contains(_ address: IPAddress) -> Bool { address == v4 || address == v6 }
}
