import IPAddressing

/// The resources of one type, and which subscribers hold each of them in some version.
struct ResourceTable {
    struct Entry {
        var resource: DiscoveryResource
        /// A bit for each subscriber.
        var holders: UInt32 = 0
    }

    private(set) var entries: [String: Entry] = [:]
    private var namesByAddress: [IPAddress: [String]] = [:]

    subscript(name: String) -> DiscoveryResource? { entries[name]?.resource }

    /// Whether it is news.
    mutating func insert(_ resource: DiscoveryResource) -> Bool {
        let before = entries[resource.name]?.resource
        guard before?.version != resource.version else { return false }
        // Keeps its holders.
        entries[resource.name, default: Entry(resource: resource)].resource = resource
        reindex(resource.name, from: before?.addresses ?? [], to: resource.addresses)
        return true
    }

    /// nil for one that is not there.
    mutating func remove(_ name: String) -> Entry? {
        guard let entry = entries.removeValue(forKey: name) else { return nil }
        reindex(name, from: entry.resource.addresses, to: [])
        return entry
    }

    private mutating func reindex(_ name: String, from old: [IPAddress], to new: [IPAddress]) {
        for address in old where !new.contains(address) {
            let left = (namesByAddress[address] ?? []).filter { $0 != name }
            namesByAddress[address] = left.isEmpty ? nil : left
        }
        for address in new where !old.contains(address) { namesByAddress[address, default: []].append(name) }
    }

    /// What an address leads to.
    func names(at address: IPAddress) -> [String] { namesByAddress[address] ?? [] }

    /// False for one that is not there.
    @discardableResult
    mutating func mark(_ name: String, heldBy bit: UInt32) -> Bool {
        guard let index = entries.index(forKey: name) else { return false }
        entries.values[index].holders |= bit
        return true
    }

    mutating func unmark(_ name: String, heldBy bit: UInt32) {
        guard let index = entries.index(forKey: name) else { return }
        entries.values[index].holders &= ~bit
    }

    mutating func forget(_ bit: UInt32) {
        for index in entries.indices { entries.values[index].holders &= ~bit }
    }
}
