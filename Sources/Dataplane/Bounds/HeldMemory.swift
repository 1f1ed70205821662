/// What one event loop keeps for those who do not read: bytes for applications, ciphertext for peers.
struct HeldMemory {
    let max: Int
    private(set) var bytes = 0

    init(max: Int) { self.max = max }

    var isOver: Bool { bytes > max }

    mutating func change(by difference: Int) { bytes &+= difference }

    /// Who has to go so that an eighth of the bound is free again: the largest holder of the owner who holds most, and so on.
    /// The result are indices of `holders`.
    func victims<Owner: Hashable>(of holders: [(owner: Owner, bytes: Int)]) -> [Int] {
        var owners: [Owner: (bytes: Int, holders: [Int])] = [:]
        for index in holders.indices.sorted(by: { holders[$0].bytes < holders[$1].bytes }) {
            let holder = holders[index]
            owners[holder.owner, default: (0, [])].bytes += holder.bytes
            owners[holder.owner]?.holders.append(index)
        }
        var victims: [Int] = []
        var left = bytes
        while left > max - max / 8, let most = owners.max(by: { $0.value.bytes < $1.value.bytes })?.key,
            let victim = owners[most]?.holders.popLast()
        {
            victims.append(victim)
            left -= holders[victim].bytes
            owners[most]?.bytes -= holders[victim].bytes
        }
        return victims
    }
}
