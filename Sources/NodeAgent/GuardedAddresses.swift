import IPAddressing

/// The addresses that the guard is to know, and those of them that it was not told of yet.
struct GuardedAddresses {
    private(set) var all: Set<IPAddress> = []
    private var added: Set<IPAddress> = []
    private var removed: Set<IPAddress> = []
    /// What the guard has is not known, at first and after it was changed by somebody or failed.
    private var isWholeDue = true

    var isPublicationDue: Bool { isWholeDue || !added.isEmpty || !removed.isEmpty }

    mutating func take(_ change: [IPAddress: Bool]) {
        for (address, isGuarded) in change {
            if isGuarded {
                if all.insert(address).inserted { added.insert(address) }
                removed.remove(address)
            } else {
                if all.remove(address) != nil { removed.insert(address) }
                added.remove(address)
            }
        }
    }

    mutating func loseAll() { isWholeDue = true }

    /// When it throws, it is to be tried again.
    mutating func publish(to meshGuard: any MeshGuard) throws {
        let isWhole = isWholeDue
        isWholeDue = true
        if isWhole {
            try meshGuard.publish(all)
        } else {
            try meshGuard.publish(adding: added, removing: removed)
        }
        isWholeDue = false
        (added, removed) = ([], [])
    }
}
