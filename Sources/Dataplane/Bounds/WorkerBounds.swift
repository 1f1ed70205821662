import LinuxNetworking

/// What one event loop counts to stay within its limits, and what it does at them.
final class WorkerBounds {
    var sockets: SocketBudget
    var handshakes: HandshakeQueue<InboundTunnel>
    var failedHandshakes: AddressAllowances
    var withdrawnRequests: AddressAllowances
    private(set) var memory: HeldMemory
    let refusals: RefusalLog
    /// Ends tunnels that carry nothing.
    var endIdle: () -> Void = {}
    /// Cuts those who hold most.
    var freeMemory: () -> Void = {}
    private let loop: EventLoop
    private var isFreeing = false
    private var isEndingIdle = false
    /// Looking at every connection has a price, too.
    private static let endIdleInterval: Duration = .milliseconds(100)

    init(loop: EventLoop, limits: DataplaneLimits, sink: @escaping RecordSink) {
        self.loop = loop
        sockets = SocketBudget(limits: limits)
        handshakes = HandshakeQueue(max: limits.handshakesMax, perPeerMax: limits.handshakesPerPeerMax)
        failedHandshakes = AddressAllowances(rate: limits.failedHandshakes)
        withdrawnRequests = AddressAllowances(rate: limits.withdrawnRequests)
        memory = HeldMemory(max: limits.heldBytesMax)
        refusals = RefusalLog(loop: loop, sink: sink)
    }

    /// The kernel has no descriptor or no memory for another socket: what is idle is given up.
    func isExhausted() {
        guard !isEndingIdle else { return }
        isEndingIdle = true
        loop.schedule(after: Self.endIdleInterval) { [weak self] in self?.isEndingIdle = false }
        endIdle()
    }

    /// So many bytes more are held, or fewer, for one who does not read. Nobody is cut before the turn ends.
    func holdsMore(_ difference: Int) {
        memory.change(by: difference)
        guard memory.isOver, !isFreeing else { return }
        isFreeing = true
        loop.endOfTurn { [unowned self] in
            isFreeing = false
            if memory.isOver { freeMemory() }
        }
    }
}
