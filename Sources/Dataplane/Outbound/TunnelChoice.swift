/// What becomes of one more connection to a peer: decided from what the tunnels there carry, without I/O.
enum TunnelChoice: Equatable {
    /// On the tunnel of this index.
    case join(Int)
    /// On a new tunnel.
    case dial
    /// Every tunnel is full, and there are as many as may be: on the first stream that ends.
    case wait

    struct Load {
        /// Open, or waiting for the tunnel to be set up.
        var streams: Int
        /// It takes one more.
        var isUsable = true
        var isDialling = false
        var isSaturated = false
    }

    /// The least loaded tunnel that is set up, else one that is being dialled. One that carries as much as it can is joined only
    /// when enough have been dialled for that reason.
    static func decide(_ loads: some Sequence<Load>, limits: DataplaneLimits) -> TunnelChoice {
        var count = 0
        var best: (index: Int, load: Load)?
        for (index, load) in loads.enumerated() {
            count += 1
            if load.isUsable, best.map({ load.isLighter(than: $0.load) }) ?? true { best = (index, load) }
        }
        if let best, !best.load.isSaturated || count >= limits.bulkTunnelsPerPeerMax { return .join(best.index) }
        if count < limits.tunnelsPerPeerMax { return .dial }
        return best.map { .join($0.index) } ?? .wait
    }
}

extension TunnelChoice.Load {
    fileprivate func isLighter(than other: Self) -> Bool { rank < other.rank }

    private var rank: (Int, Int) { (isSaturated ? 2 : isDialling ? 1 : 0, streams) }
}
