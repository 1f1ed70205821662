import IPAddressing

/// Inbound connections that have not set up TLS and HTTP/2, in the order in which they came.
///
/// Whoever keeps theirs unfinished loses the oldest first, so that a peer in good order gets through a flood of them.
struct HandshakeQueue<Element> {
    typealias Ticket = UInt64

    private let max: Int
    private let perPeerMax: Int
    private var waiting: [Ticket: (peer: IPAddress, element: Element)] = [:]
    private var peers: [IPAddress: Int] = [:]
    private var next: Ticket = 0
    /// No ticket below is waiting.
    private var oldest: Ticket = 0

    init(max: Int, perPeerMax: Int) {
        self.max = max
        self.perPeerMax = perPeerMax
    }

    var count: Int { waiting.count }

    func isFull(for peer: IPAddress) -> Bool { peers[peer, default: 0] >= perPeerMax }

    /// Who must make room, if there is none; it has left.
    mutating func displaced() -> Element? {
        guard waiting.count >= max else { return nil }
        while oldest < next {
            if let entry = leave(oldest) { return entry }
            oldest += 1
        }
        return nil
    }

    mutating func enter(_ element: Element, from peer: IPAddress) -> Ticket {
        defer { next += 1 }
        waiting[next] = (peer, element)
        peers[peer, default: 0] += 1
        return next
    }

    @discardableResult
    mutating func leave(_ ticket: Ticket) -> Element? {
        guard let entry = waiting.removeValue(forKey: ticket) else { return nil }
        let left = peers[entry.peer, default: 1] - 1
        peers[entry.peer] = left == 0 ? nil : left
        return entry.element
    }
}
