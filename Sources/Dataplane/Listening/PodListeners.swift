import Glibc
import IPAddressing
import LinuxNetworking
import MeshState

/// What one worker listens on for one pod: 15001, 15006 and 15008 in the pod's network namespace.
///
/// Unowned by what accepts through it: the pod closes it before it goes.
final class PodListeners {
    private unowned let pod: PodProxy
    private var open: [(address: SocketAddress, listener: Listener)] = []
    /// Another process holds the same sockets, to take over.
    private(set) var areShared = false

    init(pod: PodProxy) { self.pod = pod }

    private typealias Accept = @Sendable (PodProxy, consuming OwnedDescriptor) -> Void

    private struct Entry: Sendable {
        let address: SocketAddress
        /// Takes IPv4, too; and is IPv4 where the namespace has no IPv6.
        var dualStack = false
        var mark = SocketMark.proxy
        /// Its place in the map of listeners: enum culvert_listener in bpf/culvert.h.
        var slot: UInt32?
        let accept: Accept
    }

    private static let plan: [Entry] = {
        let outbound: Accept = { OutboundConnection.accept(pod: $0, accepted: $1) }
        // Loopback only: what is redirected arrives there, and nobody outside the pod can reach it.
        return [
            Entry(
                address: SocketAddress(.loopback(.v4), port: ReservedPort.outbound), mark: SocketMark.delivery, slot: 0,
                accept: outbound),
            Entry(
                address: SocketAddress(.loopback(.v6), port: ReservedPort.outbound), mark: SocketMark.delivery, slot: 1,
                accept: outbound),
            Entry(
                address: SocketAddress(.unspecified(.v6), port: ReservedPort.inboundPlaintext), dualStack: true,
                slot: 2, accept: { InboundPassthrough.accept(pod: $0, accepted: $1) }),
            Entry(
                address: SocketAddress(.unspecified(.v6), port: ReservedPort.hbone), dualStack: true,
                accept: { InboundTunnel.accept(pod: $0, accepted: $1) }),
        ]
    }()

    /// Opens what the plan says, all of it or nothing; what was inherited is not opened anew.
    func listen(inheriting inherited: [SharedListener] = []) throws(Errno) {
        do {
            for entry in Self.plan {
                let sockets = inherited.filter { $0.address == entry.address }
                for socket in sockets { try start(entry, try socket.duplicate()) }
                if sockets.isEmpty, let descriptor = try bind(entry) { try start(entry, descriptor) }
            }
        } catch {
            close()
            throw error
        }
    }

    private func start(_ entry: Entry, _ descriptor: consuming OwnedDescriptor) throws(Errno) {
        // Accepted sockets inherit it.
        KeepAlive.configure(descriptor.raw)
        let listener = Listener(worker: pod.worker, descriptor: descriptor) { [unowned pod] in entry.accept(pod, $0) }
        listener.exhausted = { [unowned pod] in pod.exhausted(entry.address.port, $0) }
        open.append((entry.address, listener))
        try listener.start()
        try register(entry, listener)
    }

    /// Every worker does; the kernel spreads connections over all that listen on the address, whichever of them it finds.
    private func register(_ entry: Entry, _ listener: Listener) throws(Errno) {
        guard let slot = entry.slot, let path = pod.worker.configuration.listenerMap?(pod.pod.name.uid) else { return }
        pod.isCapturedAtSockets = try ListenerMap.put(listener.descriptor, at: path, slot: slot)
    }

    /// `nil` when the namespace has no IPv6 and does not need this listener.
    private func bind(_ entry: Entry) throws(Errno) -> OwnedDescriptor? {
        do {
            return try bind(entry.address, entry)
        } catch {
            guard entry.address.ip.family == .v6, error.isAddressFamilyMissing else { throw error }
            guard entry.dualStack else { return nil }
            return try bind(SocketAddress(.unspecified(.v4), port: entry.address.port), entry)
        }
    }

    private func bind(_ address: SocketAddress, _ entry: Entry) throws(Errno) -> OwnedDescriptor {
        // What programs lead to a listener has another address than it has.
        let options = TCPSocket.ListenOptions(transparent: entry.slot != nil, mark: entry.mark)
        return try pod.inNamespace { () throws(Errno) in
            try TCPSocket.listen(on: address, dualStack: entry.dualStack && address.ip.family == .v6, options: options)
        }
    }

    // MARK: Hand-over

    /// Copies for a successor; both accept from now on.
    func share() throws(Errno) -> [SharedListener] {
        var shared: [SharedListener] = []
        for (address, listener) in open {
            shared.append(SharedListener(address: address, adopting: try listener.duplicate()))
        }
        areShared = true
        return shared
    }

    /// Accepts no more, and keeps the sockets: what waits in them is the successor's.
    func standBy() {
        for (_, listener) in open { listener.stop() }
    }

    /// Accepts again: the successor is gone.
    func resume() throws(Errno) {
        areShared = false
        guard !open.isEmpty else { return try listen() }
        for (_, listener) in open { try listener.start() }
    }

    func close() {
        for (_, listener) in open { listener.close() }
        open = []
    }
}

extension Errno {
    /// IPv6 is compiled out, or disabled in this namespace.
    fileprivate var isAddressFamilyMissing: Bool { code == EAFNOSUPPORT || code == EADDRNOTAVAIL }
}
