import HBONE
import IPAddressing
import LinuxNetworking
import SPIFFE

/// The dialling end of an HBONE connection: one pod's identity to one peer.
///
/// Connections that ask for it while it is being dialled wait for that one dial and share its outcome.
final class ClientTunnel: TunnelConnection {
    private let group: TunnelGroup
    private var dialling = true
    private var waiting: [OutboundStream] = []
    private var drainsOnceEstablished = false
    private var connectTimer: TimerToken?

    private var key: TunnelPool.Key { group.key }

    private init(
        group: TunnelGroup, pod: PodProxy, contexts: IdentityContexts, descriptor: consuming OwnedDescriptor
    ) {
        self.group = group
        super.init(pod: pod, role: .client, contexts: contexts, limits: HBONELimits(), descriptor: descriptor)
        let limit = worker.configuration.connectTimeout
        let port = group.key.endpoint.port
        connectTimer = worker.loop.schedule(after: limit) { [weak self] in
            self?.fail(
                ConnectionFailure(
                    .connect,
                    "connection timed out after \(limit), maybe a NetworkPolicy is blocking HBONE port \(port)"
                )
            )
        }
    }

    static func dial(
        in group: TunnelGroup, from pod: PodProxy, contexts: IdentityContexts
    ) throws(Errno) -> ClientTunnel {
        var options = TCPSocket.ConnectOptions()
        options.mark = SocketMark.proxy
        let descriptor = try pod.connect(to: group.key.endpoint, options: options)
        return ClientTunnel(group: group, pod: pod, contexts: contexts, descriptor: descriptor)
    }

    override var isConnecting: Bool { dialling }

    override func connected(_ events: IOEvents) -> Bool {
        guard !events.isDisjoint(with: [.writable, .error, .hangup]) else { return false }
        cancel(&connectTimer)
        if let error = pendingError {
            fail(ConnectionFailure(.connect, "connection to \(key.endpoint) failed: \(error)"))
            return false
        }
        dialling = false
        return true
    }

    // MARK: Streams

    var load: TunnelChoice.Load {
        let limit = worker.configuration.limits.streamsPerTunnelMax
        let streams = peer == nil ? waiting.count : activeStreams
        return TunnelChoice.Load(
            streams: streams,
            isUsable: !isDraining && end == nil && !goAwayReceived && !isSilent
                && streams < (peer == nil ? limit : min(limit, peerMaxConcurrentStreams)),
            isDialling: peer == nil, isSaturated: isSaturated)
    }

    /// Opens the stream now or when the peer has proved who it is: nothing of a connection is told to anybody before.
    func open(_ stream: OutboundStream) {
        stopIdling()
        if peer == nil { waiting.append(stream) } else { request(stream) }
    }

    func giveUp(_ stream: OutboundStream) {
        waiting.removeAll { $0 === stream }
    }

    private func request(_ stream: OutboundStream) {
        let id = connect(stream.request)
        guard id > 0 else {
            return stream.abort(ConnectionFailure(.http2, "the tunnel to \(key.endpoint) takes no more streams"))
        }
        stream.carried(by: self, stream: id)
        stream.mayTalkEarly = wasHeardLately
        markDirty()
    }

    override func established(_ peer: HBONEPeer) {
        super.established(peer)
        if let distrustReason { return fail(distrustReason) }
        guard worker.configuration.trustDomainAliases.isOneOf(key.expected, peer.id) else {
            let expected = key.expected.map(\.description).joined(separator: ", ")
            let text =
                "identity verification error: peer did not present the expected SAN (\(expected)), got \(peer.id)"
            return fail(ConnectionFailure(.tls, text))
        }
        let opened = waiting
        waiting = []
        defer { idleIfUnused() }
        for stream in opened {
            stream.record.destinationIdentity = peer.id
            request(stream)
        }
        group.hasRoom()
        // When the requests are on their way: a peer may take nothing after GOAWAY.
        if drainsOnceEstablished { worker.loop.endOfTurn { [weak self] in self?.drain() } }
    }

    override func closed(stream: Int32, code: UInt32) {
        super.closed(stream: stream, code: code)
        group.hasRoom()
    }

    override func responded(stream: Int32, status: Int, reason: String?) {
        (streams[stream] as? OutboundStream)?.answered(status: status, reason: reason)
    }

    override func goneAway(lastStream: Int32, code: UInt32) {
        retire()
    }

    override func tunnelRecord() -> ConnectionRecord {
        var record = super.tunnelRecord()
        record.destination = key.endpoint
        record.sourceIdentity = pod.pod.identity
        record.destinationIdentity = peer?.id
        record.tlsVersion = peer?.tlsVersion
        record.cipher = peer?.cipher
        return record
    }

    // MARK: Ends

    /// Takes no new streams; ends with its last one.
    func retire() { drain() }

    override func drain() {
        group.remove(self)
        // Connections that wait for this tunnel were promised it.
        drainsOnceEstablished = !waiting.isEmpty
        if !drainsOnceEstablished { super.drain() }
    }

    override func ended(_ end: ConnectionEnd) {
        super.ended(end)
        group.remove(self)
        failWaiting(ConnectionFailure(end))
    }

    override func fail(_ failure: ConnectionFailure) {
        group.remove(self)
        super.fail(failure)
        failWaiting(failure)
    }

    private func failWaiting(_ failure: ConnectionFailure) {
        let failed = waiting
        waiting = []
        for stream in failed { stream.tunnelFailed(failure) }
    }

    override func disposed() {
        cancel(&connectTimer)
    }

    private func cancel(_ timer: inout TimerToken?) {
        if let token = timer { worker.loop.cancel(token) }
        timer = nil
    }
}
