import Glibc
import IPAddressing
import LinuxNetworking
import MeshState

/// One pod on one worker: its listeners, its tunnels to peers, and every connection that it takes part in.
final class PodProxy {
    unowned let worker: Worker
    let pod: Pod
    private(set) lazy var pool = TunnelPool(pod: self)
    private var listeners: [Listener] = []
    private(set) var parts: [ObjectIdentifier: any PodConnection] = [:]
    /// Who connections of this pod come from, as HBONE says it.
    let baggage: String
    private var drainReason: String?
    var isDraining: Bool { drainReason != nil }
    private var retainedWhileDraining: PodProxy?

    init(worker: Worker, pod: Pod) {
        self.worker = worker
        self.pod = pod
        baggage = "k8s.namespace.name=\(pod.name.namespace),k8s.pod.name=\(pod.name.name)"
    }

    // MARK: Listening

    /// Opens 15001, 15006 and 15008 in the pod's network namespace: all of them or none.
    func listen() throws(Errno) {
        do {
            for (address, dualStack, transparent, accept) in plan {
                guard let descriptor = try open(address, dualStack: dualStack, transparent: transparent) else {
                    continue
                }
                let listener = Listener(worker: worker, descriptor: descriptor) { [unowned self] in accept(self, $0) }
                listener.exhausted = { [unowned self] in exhausted(address.port, $0) }
                listeners.append(listener)
                try listener.start()
            }
        } catch {
            closeListeners()
            throw error
        }
    }

    private func exhausted(_ port: UInt16, _ error: Errno) {
        var record = newRecord(port == ReservedPort.outbound ? .outbound : .inbound, .plaintext, source: nil)
        record.failure = ConnectionFailure(.overload, "connections wait to be accepted: \(error)")
        worker.bounds.refusals.note(record)
        worker.bounds.isExhausted()
    }

    private typealias Accept = (PodProxy, consuming OwnedDescriptor) -> Void

    private var plan: [(SocketAddress, dualStack: Bool, transparent: Bool, Accept)] {
        let outbound: Accept = { OutboundConnection.accept(pod: $0, accepted: $1) }
        // Loopback only: what is redirected arrives there, and nobody outside the pod can reach it.
        return [
            (SocketAddress(.loopback(.v4), port: ReservedPort.outbound), false, false, outbound),
            (SocketAddress(.loopback(.v6), port: ReservedPort.outbound), false, false, outbound),
            (
                SocketAddress(.unspecified(.v6), port: ReservedPort.inboundPlaintext), true, true,
                { InboundPassthrough.accept(pod: $0, accepted: $1) }
            ),
            (
                SocketAddress(.unspecified(.v6), port: ReservedPort.hbone), true, false,
                { InboundTunnel.accept(pod: $0, accepted: $1) }
            ),
        ]
    }

    /// `nil` when the namespace has no IPv6 and does not need this listener.
    private func open(_ address: SocketAddress, dualStack: Bool, transparent: Bool) throws(Errno) -> OwnedDescriptor? {
        do {
            return try bind(address, dualStack: dualStack, transparent: transparent)
        } catch {
            guard address.ip.family == .v6, error.isAddressFamilyMissing else { throw error }
            guard dualStack else { return nil }
            let v4 = SocketAddress(.unspecified(.v4), port: address.port)
            return try bind(v4, dualStack: false, transparent: transparent)
        }
    }

    private func bind(_ address: SocketAddress, dualStack: Bool, transparent: Bool) throws(Errno) -> OwnedDescriptor {
        var options = TCPSocket.ListenOptions()
        options.transparent = transparent
        options.mark = SocketMark.proxy
        return try inNamespace { () throws(Errno) in
            let listener = try TCPSocket.listen(on: address, dualStack: dualStack, options: options)
            // Accepted sockets inherit it.
            KeepAlive.configure(listener.raw)
            return listener
        }
    }

    /// A TCP connection from inside the pod's network namespace, under way.
    func connect(to address: SocketAddress, options: TCPSocket.ConnectOptions) throws(Errno) -> OwnedDescriptor {
        try inNamespace { () throws(Errno) in
            let socket = try TCPSocket.connect(to: address, options: options)
            // The application is in the same kernel: it cannot vanish without a word.
            if options.bindToLoopback || options.mark == SocketMark.delivery {
                try? TCPSocket.setNoDelay(socket.raw)
            } else {
                KeepAlive.configure(socket.raw)
            }
            return socket
        }
    }

    private func inNamespace(_ make: () throws(Errno) -> OwnedDescriptor) throws(Errno) -> OwnedDescriptor {
        var made: Int32 = -1
        var failure: Errno?
        do {
            try pod.networkNamespace.run(from: worker.home()) {
                do throws(Errno) { made = try make().release() } catch { failure = error }
            }
        } catch let error as Errno {
            failure = error
        } catch {
            failure = Errno(code: -1, call: "setns")
        }
        if let failure { throw failure }
        return OwnedDescriptor(adopting: made)
    }

    // MARK: Connections

    func add(_ part: any PodConnection) {
        if parts.updateValue(part, forKey: ObjectIdentifier(part)) == nil { worker.opened(part) }
    }

    func remove(_ part: any PodConnection) {
        guard parts.removeValue(forKey: ObjectIdentifier(part)) != nil else { return }
        worker.closed(part)
        let pod = parts.isEmpty ? retainedWhileDraining : nil
        if parts.isEmpty { retainedWhileDraining = nil }
        // Both may be in the middle of a call: what this was the last reference to goes when the turn is over.
        worker.loop.endOfTurn { withExtendedLifetime((part, pod)) {} }
    }

    func newRecord(
        _ direction: ConnectionRecord.Direction, _ security: ConnectionRecord.Security, source: SocketAddress?
    ) -> ConnectionRecord {
        ConnectionRecord(direction: direction, security: security, pod: pod.name, source: source)
    }

    /// Why the pod may not have so many sockets more, for this peer if it was not the pod that asked.
    func obstacle(to sockets: Int, for peer: IPAddress?) -> ConnectionFailure? {
        worker.bounds.sockets.obstacle(to: sockets, for: account(peer)).map {
            ConnectionFailure(.overload, $0.rawValue)
        }
    }

    func account(of record: ConnectionRecord) -> SocketBudget.Account {
        account(record.direction == .inbound ? record.source?.ip : nil)
    }

    func account(_ peer: IPAddress?) -> SocketBudget.Account { .init(pod: pod.name.uid, peer: peer) }

    /// A connection that is closed unread. Connections refused under load share records.
    func refuse(_ accepted: borrowing OwnedDescriptor, _ record: ConnectionRecord, _ failure: ConnectionFailure) {
        TCPSocket.abort(accepted.raw)
        var record = record
        record.failure = failure
        worker.bounds.refusals.note(record)
    }

    /// The certificate was renewed or withdrawn: tunnels under the old one take no new streams.
    func identityRenewed() {
        pool.retire()
    }

    /// Stops accepting, tells peers, and cuts what is left at the deadline. The network namespace stays open until then.
    func drain(deadline: Duration, reason: String) {
        guard drainReason == nil else { return }
        drainReason = reason
        closeListeners()
        pool.retire()
        for part in parts.values { part.drain() }
        guard !parts.isEmpty else { return }
        retainedWhileDraining = self
        _ = worker.loop.schedule(after: deadline) { [weak self] in self?.cut(reason) }
    }

    private func cut(_ reason: String) {
        for part in parts.values { part.abort(ConnectionFailure(.drained, "connection closed: \(reason)")) }
        retainedWhileDraining = nil
    }

    private func closeListeners() {
        for listener in listeners { listener.close() }
        listeners = []
    }
}

/// Something of a pod that lives until it ends by itself or is cut.
protocol PodConnection: AnyObject {
    /// Takes on nothing new; ends when what it carries has ended.
    func drain()
    /// Ends now.
    func abort(_ failure: ConnectionFailure)
    /// Ends if it carries nothing at the moment: its descriptor is needed.
    func endIfIdle()
    /// Unchanged as long as it is open.
    var socketCount: Int { get }
    /// Who is charged for these; unchanged, too.
    var account: SocketBudget.Account { get }
    /// Memory for what is not read at its other end, in bytes.
    var heldBytes: Int { get }
}

extension PodConnection {
    func endIfIdle() {}
    var socketCount: Int { 1 }
    var heldBytes: Int { 0 }
}

extension Errno {
    /// IPv6 is compiled out, or disabled in this namespace.
    fileprivate var isAddressFamilyMissing: Bool { code == EAFNOSUPPORT || code == EADDRNOTAVAIL }
}
