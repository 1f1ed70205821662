/// Timers in order of their deadline: a binary heap whose entries know their place, so that any can be taken out.
///
/// Insertion, removal and cancellation take time logarithmic in the number of timers waiting; cancelling drops the
/// payload at once.
struct TimerHeap<Deadline: Comparable, Payload> {
    /// Stays unequal to every other token of the same heap, also when its slot is used again.
    struct Token: Hashable, Sendable {
        let slot: Int
        let generation: UInt64
    }

    private struct Slot {
        var generation: UInt64
        /// Index in `order`, or -1 while the slot is free.
        var position: Int
        var deadline: Deadline
        /// Breaks ties: timers of one deadline fire in the order they were set.
        var sequence: UInt64
        var payload: Payload?
    }

    private var slots: [Slot] = []
    private var free: [Int] = []
    private var order: [Int] = []
    private var sequence: UInt64 = 0

    var count: Int { order.count }
    var earliest: Deadline? { order.first.map { slots[$0].deadline } }

    mutating func insert(_ deadline: Deadline, _ payload: Payload) -> Token {
        sequence += 1
        let position = order.count
        let index: Int
        if let reused = free.popLast() {
            index = reused
            slots[index].position = position
            slots[index].deadline = deadline
            slots[index].sequence = sequence
            slots[index].payload = payload
        } else {
            index = slots.count
            slots.append(
                Slot(generation: 0, position: position, deadline: deadline, sequence: sequence, payload: payload))
        }
        order.append(index)
        rise(position)
        return Token(slot: index, generation: slots[index].generation)
    }

    /// The payload of the earliest timer, if its deadline is not after `now`.
    mutating func popExpired(at now: Deadline) -> Payload? {
        guard let first = order.first, slots[first].deadline <= now else { return nil }
        return removeEntry(at: 0)
    }

    /// `nil` when the timer has fired or was cancelled before.
    @discardableResult
    mutating func cancel(_ token: Token) -> Payload? {
        guard slots.indices.contains(token.slot), slots[token.slot].generation == token.generation,
            slots[token.slot].position >= 0
        else { return nil }
        return removeEntry(at: slots[token.slot].position)
    }

    private mutating func removeEntry(at position: Int) -> Payload? {
        let index = order[position]
        let last = order.removeLast()
        if position < order.count {
            order[position] = last
            slots[last].position = position
            sink(position)
            rise(slots[last].position)
        }
        slots[index].position = -1
        slots[index].generation += 1
        free.append(index)
        return slots[index].payload.take()
    }

    private func precedes(_ a: Int, _ b: Int) -> Bool {
        let (first, second) = (slots[order[a]], slots[order[b]])
        return first.deadline == second.deadline
            ? first.sequence < second.sequence : first.deadline < second.deadline
    }

    private mutating func exchange(_ a: Int, _ b: Int) {
        order.swapAt(a, b)
        slots[order[a]].position = a
        slots[order[b]].position = b
    }

    private mutating func rise(_ start: Int) {
        var child = start
        while child > 0, precedes(child, (child - 1) / 2) {
            exchange(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func sink(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < order.count && precedes(child, least) {
                least = child
            }
            if least == parent { return }
            exchange(parent, least)
            parent = least
        }
    }
}
