/// How often the rules of a pod had to refuse something since they were installed; in packets.
public struct RedirectionCounters: Hashable, Sendable {
    /// New connections from outside while the proxy did not listen.
    public let inboundRefused: UInt64
    /// Packets the guard kept from leaving in plaintext.
    public let guardDropped: UInt64
    /// Packets with the proxy's mark that were not the proxy's.
    public var claimsRefused: UInt64 = 0
}

extension RedirectionCounters {
    /// Packets by counter, from `nft list counters`: `counter NAME {`, then `packets N bytes N`.
    static func values(_ listing: String) -> [String: UInt64] {
        var values: [String: UInt64] = [:]
        var name: String?
        for line in listing.split(separator: "\n") {
            let words = line.split(whereSeparator: \.isWhitespace)
            if words.count >= 2, words[0] == "counter" { name = String(words[1]) }
            if words.count >= 2, words[0] == "packets", let name, let value = UInt64(words[1]) { values[name] = value }
        }
        return values
    }

    init?(listing: String) {
        let values = Self.values(listing)
        guard let refused = values[NFTRuleset.refusedCounter], let dropped = values[NFTRuleset.droppedCounter]
        else { return nil }
        inboundRefused = refused
        guardDropped = dropped
        claimsRefused = values[NFTRuleset.claimsCounter] ?? 0
    }
}
