import HBONE
import IPAddressing
import LinuxNetworking
import MeshState
import SPIFFE

/// A connection that an application of the pod opened, from accept on 15001 to the decision where its bytes go.
///
/// 1. Original destination; calls to ourselves are refused.
/// 2. Source: the pod of this network namespace. May wait until the mesh knows it.
/// 3. Route, decided in one snapshot. May refuse. May wait until the agent was asked for an unknown address of the mesh's ranges.
/// 4. Tunnel: needs the pod's certificate. May wait until it is issued.
/// 5. A stream of a pooled tunnel (`OutboundStream`), or plain TCP (`PlainRelay`).
///
/// Nothing is read from the application before step 5 is done, and every wait is bounded.
final class OutboundConnection: HeldConnection, PodConnection {
    private let pod: PodProxy
    private let worker: Worker
    private var descriptor: OwnedDescriptor?
    private var record: ConnectionRecord
    private let opened: ContinuousClock.Instant
    private var holdTimer: TimerToken?
    private var waitsFor: ConnectionFailure?

    static func accept(pod: PodProxy, accepted: consuming OwnedDescriptor) {
        guard let obstacle = pod.obstacle(to: 1, for: nil) else {
            return OutboundConnection(pod: pod, accepted: accepted).start()
        }
        var record = pod.newRecord(.outbound, .plaintext, source: TCPSocket.peerAddress(accepted.raw))
        record.sourceIdentity = pod.pod.identity
        record.destination = TCPSocket.originalDestination(accepted.raw)
        pod.refuse(accepted, record, obstacle)
    }

    private init(pod: PodProxy, accepted: consuming OwnedDescriptor) {
        self.pod = pod
        worker = pod.worker
        opened = pod.worker.loop.now
        record = pod.newRecord(.outbound, .plaintext, source: TCPSocket.peerAddress(accepted.raw))
        record.sourceIdentity = pod.pod.identity
        record.destination = TCPSocket.originalDestination(accepted.raw) ?? TCPSocket.localAddress(accepted.raw)
        descriptor = consume accepted
    }

    private func start() {
        pod.add(self)
        guard let destination = record.destination else {
            return refuse(ConnectionFailure(.connect, "the original destination of the connection is unknown"))
        }
        if destination.ip.isLoopback && ReservedPort.isListenerInPod(destination.port) {
            return refuse(ConnectionFailure(.denied, "attempted recursive call to ourselves"))
        }
        retry()
    }

    func retry() {
        guard descriptor != nil, let destination = record.destination else { return }
        guard let source = pod.workload else {
            return hold(
                "failed to fetch information about local workload: \(pod.pod.name.namespace)/\(pod.pod.name.name)")
        }
        switch worker.mesh.route(from: source, to: destination, random: worker.nextRandom()) {
        case .refused(let refusal):
            refuse(ConnectionFailure(.denied, refusal.description))
        case .plain(let target, let workload, let service):
            record.destinationWorkload = workload?.name
            record.destinationService = service?.hostname
            relayPlain(to: target)
        case .unknown(let target):
            switch worker.look(at: target.ip) {
            case .outside: relayPlain(to: target)
            case .unavailable(let reason): refuse(Self.unknown(target, reason))
            case .ask, .wait: hold(for: worker.configuration.lookUpTimeout, Self.unknown(target, "no answer"))
            }
        case .tunnel(let tunnel):
            guard let contexts = worker.contexts(for: pod.pod.identity) else {
                return hold("identity error: no valid certificate for \(pod.pod.identity)")
            }
            open(tunnel, contexts: contexts)
        }
    }

    // MARK: Waiting

    private func hold(_ reason: String) {
        hold(for: worker.configuration.holdTimeout, ConnectionFailure(.identity, reason))
    }

    /// `failure` is what becomes of it if it waits in vain.
    private func hold(for timeout: Duration, _ failure: ConnectionFailure) {
        waitsFor = failure
        guard holdTimer == nil else { return }
        worker.hold(self)
        holdTimer = worker.loop.schedule(after: timeout) { [weak self] in
            guard let self, let waitsFor else { return }
            refuse(waitsFor)
        }
    }

    /// It may be an enrolled pod's: it is not passed through blindly.
    private static func unknown(_ destination: SocketAddress, _ reason: String) -> ConnectionFailure {
        ConnectionFailure(.connect, "the mesh does not know \(destination.ip), and could not ask for it: \(reason)")
    }

    private func stopHolding() {
        guard let holdTimer else { return }
        worker.loop.cancel(holdTimer)
        self.holdTimer = nil
        worker.letGo(self)
    }

    // MARK: Outcomes

    private func open(_ route: MeshState.Tunnel, contexts: IdentityContexts) {
        guard let socket = descriptor.take() else { return }
        stopHolding()
        record.security = .mutualTLS
        record.destination = route.endpoint
        record.authority = route.authority.description
        record.destinationWorkload = route.destination.name
        record.destinationService = route.service?.hostname
        let key = TunnelPool.Key(endpoint: route.endpoint, expected: route.expected)
        let stream = OutboundStream(pod: pod, descriptor: socket, record: record, key: key)
        pod.remove(self)
        stream.start(contexts: contexts)
    }

    private func relayPlain(to target: SocketAddress) {
        guard let socket = descriptor.take() else { return }
        stopHolding()
        record.destination = target
        var options = TCPSocket.ConnectOptions()
        options.mark = SocketMark.proxy
        PlainRelay.start(pod: pod, accepted: socket, to: target, options: options, record: record)
        pod.remove(self)
    }

    private func refuse(_ failure: ConnectionFailure) {
        guard let socket = descriptor.take() else { return }
        stopHolding()
        TCPSocket.abort(socket.raw)
        record.failure = failure
        record.duration = opened.duration(to: worker.loop.now)
        worker.record(record)
        pod.remove(self)
    }

    var account: SocketBudget.Account { pod.account(nil) }

    func drain() {}

    func abort(_ failure: ConnectionFailure) { refuse(failure) }
}
