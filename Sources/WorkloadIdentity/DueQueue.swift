/// Items by their order, the first on top: a binary heap.
struct DueQueue<Item: Comparable & Sendable>: Sendable {
    private(set) var items: [Item] = []

    var first: Item? { items.first }

    mutating func push(_ item: Item) {
        items.append(item)
        var child = items.count - 1
        while child > 0, items[child] < items[(child - 1) / 2] {
            items.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    @discardableResult
    mutating func pop() -> Item? {
        guard let last = items.popLast() else { return nil }
        guard let top = items.first else { return last }
        items[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < items.count && items[child] < items[least] {
                least = child
            }
            guard least != parent else { return top }
            items.swapAt(parent, least)
            parent = least
        }
    }

    mutating func removeAll(where isObsolete: (Item) -> Bool) {
        let kept = items.filter { !isObsolete($0) }
        items = []
        for item in kept { push(item) }
    }
}
