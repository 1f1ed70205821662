import IPAddressing

/// How many sockets one event loop has open, and for whom: who floods uses up a share, not the whole.
struct SocketBudget {
    /// Why there is no room.
    enum Obstacle: String {
        case total = "the proxy carries as many connections as it may"
        case pod = "the pod has its share of the proxy's connections"
        case peer = "the peer's address has its share of the proxy's connections"
    }

    /// Who is charged for a socket: the pod that it serves, and the address that asked for it unless that was the pod.
    struct Account: Hashable {
        let pod: String
        let peer: IPAddress?

        enum Owner: Hashable {
            case pod(String)
            case peer(IPAddress)
        }

        /// Whose doing it is.
        var owner: Owner { peer.map(Owner.peer) ?? .pod(pod) }
    }

    private let limits: DataplaneLimits
    private(set) var used = 0
    private var pods: [String: Int] = [:]
    private var peers: [IPAddress: Int] = [:]

    init(limits: DataplaneLimits) { self.limits = limits }

    func obstacle(to sockets: Int, for account: Account) -> Obstacle? {
        if let peer = account.peer, peers[peer, default: 0] + sockets > limits.socketsPerPeerMax { return .peer }
        if pods[account.pod, default: 0] + sockets > limits.socketsPerPodMax { return .pod }
        return used + sockets > limits.socketsMax ? .total : nil
    }

    mutating func take(_ sockets: Int, for account: Account) { change(by: sockets, account) }

    mutating func giveBack(_ sockets: Int, for account: Account) { change(by: -sockets, account) }

    private mutating func change(by sockets: Int, _ account: Account) {
        used += sockets
        Self.change(&pods, account.pod, by: sockets)
        if let peer = account.peer { Self.change(&peers, peer, by: sockets) }
    }

    /// Those who have none are not kept.
    private static func change<Key>(_ counts: inout [Key: Int], _ key: Key, by change: Int) {
        let count = counts[key, default: 0] + change
        counts[key] = count == 0 ? nil : count
    }
}
