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
    private var isEstablished = false

    static func accept(pod: PodProxy, accepted: consuming OwnedDescriptor) {
        let worker = pod.worker
        guard let source = TCPSocket.peerAddress(accepted.raw), let local = TCPSocket.localAddress(accepted.raw) else {
            // The client is gone already.
            return
        }
        guard let contexts = worker.contexts(for: pod.pod.identity) else {
            TCPSocket.abort(accepted.raw)
            var record = pod.newRecord(.inbound, .mutualTLS, source: source)
            record.destination = local
            let text = "identity error: no valid certificate for \(pod.pod.identity)"
            record.failure = ConnectionFailure(.identity, text)
            return worker.record(record)
        }
        InboundTunnel(pod: pod, context: contexts.server, source: source, local: local, accepted: accepted).start()
    }

    private init(
        pod: PodProxy, context: TLSContext, source: SocketAddress, local: SocketAddress,
        accepted: consuming OwnedDescriptor
    ) {
        self.source = source
        self.local = local
        opened = pod.worker.loop.now
        super.init(pod: pod, role: .server, context: context, limits: HBONELimits(), descriptor: accepted)
    }

    // MARK: The connection

    override func established(_ peer: HBONEPeer) {
        super.established(peer)
        isEstablished = true
    }

    override func ended(_ end: ConnectionEnd) {
        if !isEstablished { recordRefusal(ConnectionFailure(end)) }
        super.ended(end)
    }

    override func fail(_ failure: ConnectionFailure) {
        if !isEstablished && end == nil { recordRefusal(failure) }
        super.fail(failure)
    }

    private func recordRefusal(_ failure: ConnectionFailure) {
        isEstablished = true
        var record = newRecord()
        record.failure = failure
        worker.record(record)
    }

    private func newRecord() -> ConnectionRecord {
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
        var record = newRecord()
        record.authority = request.authority
        switch InboundDecision.decide(authority: request.authority, local: local.ip) {
        case .refuse(let status, let reason):
            record.failure = ConnectionFailure(.denied, reason)
            worker.record(record)
            refuse(stream: stream, status: status, reason: reason)
        case .deliver(let target):
            record.destination = target
            deliver(stream, to: target, record: record)
        }
        markDirty()
    }

    override func malformedRequest(stream: Int32, reason: String) {
        var record = newRecord()
        record.failure = ConnectionFailure(.denied, reason)
        worker.record(record)
        markDirty()
    }

    private func deliver(_ stream: Int32, to target: SocketAddress, record: ConnectionRecord) {
        let options = DeliveryOptions.options(source: source.ip, destination: target.ip, ports: nil)
        do {
            let socket = try pod.connect(to: target, options: options)
            InboundStream(pod: pod, descriptor: socket, record: record).connect(over: self, stream: stream)
        } catch {
            var record = record
            let reason = "connection to \(target) failed: \(error)"
            record.failure = ConnectionFailure(.connect, reason)
            worker.record(record)
            refuse(stream: stream, status: 503, reason: reason)
        }
    }
}
