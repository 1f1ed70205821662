import IPAddressing
import LinuxNetworking
import MeshState

/// Plaintext that a client outside the mesh sent to the pod, from accept on 15006 to the decision what becomes of it.
///
/// Permissive: it is passed to the application with the client's own address as source, and recorded as plaintext. Strict: it is
/// refused. Until the mesh tells which of the two the pod is, it waits, for a bounded time; nothing is read meanwhile.
final class InboundPassthrough: HeldConnection, PodConnection {
    /// Captured connections keep the application's port (TPROXY), so the proxy's own connection to the application must
    /// not meet the client's port: clients use 32768 to 60999 by default, the proxy what lies above.
    static let sourcePorts: ClosedRange<UInt16> = 61_000...65_535

    private let pod: PodProxy
    private let source: SocketAddress
    private let destination: SocketAddress
    private let record: ConnectionRecord
    private var descriptor: OwnedDescriptor?
    private var holdTimer: TimerToken?

    static func accept(pod: PodProxy, accepted: consuming OwnedDescriptor) {
        let source = TCPSocket.peerAddress(accepted.raw)
        let destination = TCPSocket.originalDestination(accepted.raw) ?? TCPSocket.localAddress(accepted.raw)
        var record = pod.newRecord(.inbound, .plaintext, source: source)
        record.destination = destination
        record.destinationIdentity = pod.pod.identity
        guard let source, let destination else {
            return pod.refuse(accepted, record, ConnectionFailure(.reset, "the connection's ends are unknown"))
        }
        if let obstacle = pod.obstacle(to: PlainRelay.socketCount, for: source.ip) {
            return pod.refuse(accepted, record, obstacle)
        }
        InboundPassthrough(pod: pod, accepted: accepted, source, destination, record).retry()
    }

    private init(
        pod: PodProxy, accepted: consuming OwnedDescriptor, _ source: SocketAddress, _ destination: SocketAddress,
        _ record: ConnectionRecord
    ) {
        self.pod = pod
        self.source = source
        self.destination = destination
        self.record = record
        descriptor = consume accepted
    }

    func retry() {
        let decision = PlaintextDecision.decide(
            source: source, destination: destination, own: pod.workload, peer: pod.worker.mesh.workload(at: source.ip))
        switch decision {
        case .deliver: deliver()
        case .refuse(let failure): refuse(failure)
        case .wait: hold()
        }
    }

    private func deliver() {
        guard let socket = descriptor.take() else { return }
        stopHolding()
        let options = DeliveryOptions.options(source: source.ip, destination: destination.ip, ports: Self.sourcePorts)
        PlainRelay.start(pod: pod, accepted: socket, to: destination, options: options, record: record)
    }

    private func refuse(_ failure: ConnectionFailure) {
        guard let socket = descriptor.take() else { return }
        stopHolding()
        pod.refuse(socket, record, failure)
    }

    private func hold() {
        guard descriptor != nil, holdTimer == nil else { return }
        pod.add(self)
        pod.worker.hold(self)
        holdTimer = pod.worker.loop.schedule(after: pod.worker.configuration.holdTimeout) { [weak self] in
            guard let self else { return }
            let name = "\(pod.pod.name.namespace)/\(pod.pod.name.name)"
            refuse(ConnectionFailure(.identity, "failed to fetch information about local workload: \(name)"))
        }
    }

    private func stopHolding() {
        guard let holdTimer else { return }
        pod.worker.loop.cancel(holdTimer)
        self.holdTimer = nil
        pod.worker.letGo(self)
        pod.remove(self)
    }

    var account: SocketBudget.Account { pod.account(of: record) }

    func drain() {}

    func abort(_ failure: ConnectionFailure) { refuse(failure) }
}

/// How the proxy connects to the application, so that the application sees the client's address.
enum DeliveryOptions {
    static func options(source: IPAddress, destination: IPAddress, ports: ClosedRange<UInt16>?)
        -> TCPSocket.ConnectOptions
    {
        var options = TCPSocket.ConnectOptions()
        // A pod that calls itself is its own client: its address needs no borrowing. Nor can one family's address be
        // the source of a connection in the other.
        guard source != destination, source.family == destination.family else {
            options.mark = SocketMark.proxy
            return options
        }
        options.mark = SocketMark.delivery
        options.source = source
        options.localPortRange = ports
        return options
    }
}
