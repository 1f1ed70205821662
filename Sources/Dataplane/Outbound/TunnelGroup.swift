import LinuxNetworking

/// The tunnels from one pod to one peer, and the connections that wait for a stream on them.
final class TunnelGroup {
    let key: TunnelPool.Key
    private unowned let pod: PodProxy
    private var tunnels: [ClientTunnel] = []
    /// In the order in which they came; each leaves at its own deadline.
    private var waiting: [OutboundStream] = []
    private var isServing = false

    init(key: TunnelPool.Key, pod: PodProxy) {
        self.key = key
        self.pod = pod
    }

    var isEmpty: Bool { tunnels.isEmpty && waiting.isEmpty }

    /// Puts the stream on a tunnel, or among those that wait.
    ///
    /// - Throws: why it must be refused.
    func carry(_ stream: OutboundStream, contexts: IdentityContexts) throws(ConnectionFailure) {
        let limits = pod.worker.configuration.limits
        switch TunnelChoice.decide(tunnels.lazy.map(\.load), limits: limits) {
        case .join(let index):
            stream.join(tunnels[index])
        case .dial:
            stream.join(try dial(contexts))
        case .wait:
            guard waiting.count < limits.streamsWaitingPerPeerMax else {
                throw ConnectionFailure(.overload, "too many connections wait for a stream to \(key.endpoint)")
            }
            waiting.append(stream)
            stream.wait(in: self)
        }
    }

    private func dial(_ contexts: IdentityContexts) throws(ConnectionFailure) -> ClientTunnel {
        if let obstacle = pod.obstacle(to: 1, for: nil) { throw obstacle }
        let tunnel: ClientTunnel
        do {
            tunnel = try ClientTunnel.dial(in: self, from: pod, contexts: contexts)
        } catch {
            throw error.isExhaustion
                ? ConnectionFailure(.overload, "\(error)")
                : ConnectionFailure(.connect, "connection to \(key.endpoint) failed: \(error)")
        }
        tunnels.append(tunnel)
        tunnel.start()
        return tunnel
    }

    /// The tunnel takes no new streams.
    func remove(_ tunnel: ClientTunnel) {
        guard let index = tunnels.firstIndex(where: { $0 === tunnel }) else { return }
        tunnels.remove(at: index)
        hasRoom()
        if isEmpty { pod.pool.remove(self) }
    }

    func giveUp(_ stream: OutboundStream) {
        waiting.removeAll { $0 === stream }
        if isEmpty { pod.pool.remove(self) }
    }

    func retire() { for tunnel in tunnels { tunnel.retire() } }

    // MARK: Those that wait

    /// A stream has ended, or a tunnel: who waits may go on, though not from inside the tunnel that says so.
    func hasRoom() {
        guard !waiting.isEmpty, !isServing else { return }
        isServing = true
        pod.worker.loop.endOfTurn { [self] in
            isServing = false
            serve()
        }
    }

    private func serve() {
        let limits = pod.worker.configuration.limits
        while !waiting.isEmpty, TunnelChoice.decide(tunnels.lazy.map(\.load), limits: limits) != .wait {
            waiting.removeFirst().goOn()
        }
        if isEmpty { pod.pool.remove(self) }
    }
}
