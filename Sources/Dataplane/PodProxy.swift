import Glibc
import IPAddressing
import LinuxNetworking
import MeshState

/// One pod on one worker: its listeners, its tunnels to peers, and every connection that it takes part in.
final class PodProxy {
    unowned let worker: Worker
    let pod: Pod
    private(set) lazy var pool = TunnelPool(pod: self)
    private(set) lazy var listeners = PodListeners(pod: self)
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

    // MARK: The mesh

    /// The pod as the mesh has it, or had it last; nil until it does.
    ///
    /// A pod that is taken out leaves the mesh before its connections stop coming here: these are treated as before, instead of
    /// being held for an answer that never comes.
    var workload: Workload? {
        let name = pod.name
        let present =
            worker.mesh.workload(uid: name.uid)
            ?? worker.mesh.workload(
                name: name.name, namespace: name.namespace, serviceAccount: pod.serviceAccount,
                node: worker.configuration.node
            )
        if let present { known = present }
        return known
    }

    private var known: Workload?

    private var refusesPlaintext = false

    /// Plaintext from before ends when it is refused from now on.
    func meshChanged() {
        guard let workload else { return }
        let (before, now) = (refusesPlaintext, workload.refusesPlaintext)
        refusesPlaintext = now
        guard now, !before else { return }
        for part in parts.values { (part as? PlainRelay)?.plaintextRefused(in: workload.namespace) }
    }

    // MARK: Sockets in the pod's network namespace

    /// Its listeners are in a map, for programs that choose among them.
    var isCapturedAtSockets = false

    /// Connections wait that cannot be accepted.
    func exhausted(_ port: UInt16, _ error: Errno) {
        var record = newRecord(port == ReservedPort.outbound ? .outbound : .inbound, .plaintext, source: nil)
        record.failure = ConnectionFailure(.overload, "connections wait to be accepted: \(error)")
        worker.bounds.refusals.note(record)
        worker.bounds.isExhausted()
    }

    /// A TCP connection from inside the pod's network namespace, under way.
    func connect(to address: SocketAddress, options: TCPSocket.ConnectOptions) throws(Errno) -> OwnedDescriptor {
        var options = options
        // The lookup program tells by it that the connection comes from here; elsewhere there may be no route for it.
        if options.mark == SocketMark.delivery { options.bindToLoopback = isCapturedAtSockets }
        return try inNamespace { () throws(Errno) in
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

    func inNamespace(_ make: () throws(Errno) -> OwnedDescriptor) throws(Errno) -> OwnedDescriptor {
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
        listeners.close()
        windDown()
        guard !parts.isEmpty else { return }
        retainedWhileDraining = self
        _ = worker.loop.schedule(after: deadline) { [weak self] in self?.cut(reason) }
    }

    private func cut(_ reason: String) {
        for part in parts.values { part.abort(ConnectionFailure(.drained, "connection closed: \(reason)")) }
        retainedWhileDraining = nil
    }

    /// Leaves what is new to the successor that holds the same listening sockets; what there is goes on.
    func standBy() {
        listeners.standBy()
        windDown()
    }

    private func windDown() {
        pool.retire()
        for part in parts.values { part.drain() }
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
