import HBONE
import IPAddressing
import LinuxNetworking
import MeshState

/// The accepting end of an HBONE connection, on 15008 of a pod.
///
/// 1. TLS 1.3; the client's certificate must chain to its own trust domain's roots. Refused in the handshake.
/// 2. Per CONNECT: authority, destination is this pod, port is not ours. Refused with 400 or 503 and the reason.
/// 3. Connect to the application from the client's own address; 200 only when it accepted. Refused with 503.
/// 4. Bytes both ways (`InboundStream`).
final class InboundTunnel: TunnelConnection {
    private let source: SocketAddress
    private let local: SocketAddress
    private let opened: ContinuousClock.Instant
    /// Its place among those that have not set up HTTP/2 yet.
    private var handshake: HandshakeQueue<InboundTunnel>.Ticket?
    private var isRecorded = false
    private var denied: Allowance

    static func accept(pod: PodProxy, accepted: consuming OwnedDescriptor) {
        let worker = pod.worker
        guard let source = TCPSocket.peerAddress(accepted.raw), let local = TCPSocket.localAddress(accepted.raw) else {
            // The client is gone already.
            return
        }
        if let obstacle = obstacle(pod, source.ip) {
            var record = pod.newRecord(.inbound, .mutualTLS, source: source)
            record.destination = local
            return pod.refuse(accepted, record, obstacle)
        }
        guard let contexts = worker.contexts(for: pod.pod.identity) else {
            TCPSocket.abort(accepted.raw)
            var record = pod.newRecord(.inbound, .mutualTLS, source: source)
            record.destination = local
            let text = "identity error: no valid certificate for \(pod.pod.identity)"
            record.failure = ConnectionFailure(.identity, text)
            return worker.record(record)
        }
        if let oldest = worker.bounds.handshakes.displaced() {
            oldest.fail(ConnectionFailure(.overload, "made room for newer ones: TLS and HTTP/2 were not set up yet"))
        }
        let tunnel = InboundTunnel(
            pod: pod, contexts: contexts, source: source, local: local, accepted: accepted)
        tunnel.handshake = worker.bounds.handshakes.enter(tunnel, from: source.ip)
        tunnel.start()
    }

    private static func obstacle(_ pod: PodProxy, _ peer: IPAddress) -> ConnectionFailure? {
        let bounds = pod.worker.bounds
        if bounds.handshakes.isFull(for: peer) {
            return ConnectionFailure(.overload, "the peer's address has too many connections without TLS and HTTP/2")
        }
        if bounds.failedHandshakes.isUsedUp(peer, at: pod.worker.loop.now) {
            return ConnectionFailure(.overload, "the peer's address has failed to prove who it is too often")
        }
        return pod.obstacle(to: 1, for: peer)
    }

    private init(
        pod: PodProxy, contexts: IdentityContexts, source: SocketAddress, local: SocketAddress,
        accepted: consuming OwnedDescriptor
    ) {
        self.source = source
        self.local = local
        opened = pod.worker.loop.now
        denied = Allowance(at: pod.worker.loop.now)
        super.init(pod: pod, role: .server, contexts: contexts, limits: HBONELimits(), descriptor: accepted)
    }

    // MARK: The connection

    override var account: SocketBudget.Account { pod.account(source.ip) }

    override func settled() {
        super.settled()
        leaveHandshakes()
    }

    override func ended(_ end: ConnectionEnd) {
        failed(ConnectionFailure(end))
        super.ended(end)
    }

    override func fail(_ failure: ConnectionFailure) {
        if end == nil { failed(failure) }
        super.fail(failure)
    }

    override func disposed() { leaveHandshakes() }

    /// It ends: if before HTTP/2 was set up, or by the peer's fault, that is a record of its own.
    private func failed(_ failure: ConnectionFailure) {
        guard handshake != nil || failure.kind == .http2 || failure.kind == .timeout, !isRecorded else { return }
        isRecorded = true
        var record = tunnelRecord()
        record.failure = failure
        guard failure.kind != .overload else { return worker.bounds.refusals.note(record) }
        worker.record(record)
        if handshake != nil, failure.kind != .drained {
            worker.bounds.failedHandshakes.take(source.ip, at: worker.loop.now)
        }
    }

    private func leaveHandshakes() {
        if let handshake { worker.bounds.handshakes.leave(handshake) }
        handshake = nil
    }

    override func tunnelRecord() -> ConnectionRecord {
        var record = pod.newRecord(.inbound, .mutualTLS, source: source)
        record.destination = local
        record.sourceIdentity = peer?.id
        record.destinationIdentity = pod.pod.identity
        record.tlsVersion = peer?.tlsVersion
        record.cipher = peer?.cipher
        record.duration = opened.duration(to: worker.loop.now)
        return record
    }

    // MARK: Its streams

    override func requested(stream: Int32, _ request: ConnectRequest) {
        var record = tunnelRecord()
        record.authority = request.authority
        if let distrustReason {
            record.failure = distrustReason
            worker.record(record)
            refuse(stream: stream, status: 401, reason: distrustReason.description)
            return markDirty()
        }
        switch InboundDecision.decide(authority: request.authority, local: local.ip) {
        case .refuse(let status, let reason):
            record.failure = ConnectionFailure(.denied, reason)
            worker.record(record)
            refuse(stream: stream, status: status, reason: reason)
            noteDenial()
        case .deliver(let target):
            record.destination = target
            if let obstacle = obstacle {
                refuse(stream, record, obstacle)
                noteDenial()
            } else {
                deliver(stream, to: target, record: record)
            }
        }
        markDirty()
    }

    private var obstacle: ConnectionFailure? {
        guard !worker.bounds.withdrawnRequests.isUsedUp(source.ip, at: worker.loop.now) else {
            return ConnectionFailure(.overload, "the peer's address takes its requests back too often")
        }
        return pod.obstacle(to: 1, for: source.ip)
    }

    override func closed(stream: Int32, code: UInt32) {
        if end == nil, let socket = streams[stream], !socket.hasAnswer {
            worker.bounds.withdrawnRequests.take(source.ip, at: worker.loop.now)
        }
        super.closed(stream: stream, code: code)
    }

    private func refuse(_ stream: Int32, _ record: ConnectionRecord, _ failure: ConnectionFailure) {
        var record = record
        record.failure = failure
        if failure.kind == .overload { worker.bounds.refusals.note(record) } else { worker.record(record) }
        refuse(stream: stream, status: 503, reason: failure.description)
    }

    /// A peer that goes on asking for what it may not have costs us more than it is worth.
    private func noteDenial() {
        let rate = worker.configuration.limits.deniedRequests
        guard !denied.isUsedUp(at: worker.loop.now, rate) else {
            return cutOff(because: "too many requests that are denied", code: HTTP2ErrorCode.enhanceYourCalm)
        }
        denied.take(at: worker.loop.now, rate)
    }

    override func malformedRequest(stream: Int32, reason: String) {
        var record = tunnelRecord()
        record.failure = ConnectionFailure(.denied, reason)
        worker.record(record)
        noteDenial()
        markDirty()
    }

    private func deliver(_ stream: Int32, to target: SocketAddress, record: ConnectionRecord) {
        let options = DeliveryOptions.options(source: source.ip, destination: target.ip, ports: nil)
        do {
            let socket = try pod.connect(to: target, options: options)
            InboundStream(pod: pod, descriptor: socket, record: record).connect(over: self, stream: stream)
        } catch {
            refuse(
                stream, record,
                error.isExhaustion
                    ? ConnectionFailure(.overload, "\(error)")
                    : ConnectionFailure(.connect, "connection to \(target) failed: \(error)"))
        }
    }
}
