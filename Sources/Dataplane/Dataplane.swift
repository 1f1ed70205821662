internal import Glibc
import HBONE
public import LinuxNetworking
public import MeshState
public import SPIFFE
import Synchronization

/// The node's data plane: event loops on their own threads that carry the pods' connections.
///
/// This type is the one bridge between the two worlds: snapshots go in (mesh, identities, pods), records come out
/// through the sink. Its methods may be called from any task or thread; none of them blocks on a connection.
public final class Dataplane: Sendable {
    private let workers: [Worker]
    private let records: TLSRecords
    private let aliases: TrustDomainAliases
    private let state: Mutex<State>

    private struct State {
        var svids: [SPIFFEID: X509SVID] = [:]
        var bundles = TrustBundleSet()
        var trust = PeerTrust(TrustBundleSet())
        /// The loops are told to stop: nobody would answer a call any more.
        var hasStopped = false
    }

    /// Starts the loops. `record` is called on their threads.
    public init(configuration: DataplaneConfiguration, record: @escaping RecordSink) throws(Errno) {
        // A peer that closes while we write is an error code, not a signal.
        signal(SIGPIPE, SIG_IGN)
        // What a burst needed is not to stay.
        ProcessMemory.keepNoLargeBlocks()
        let loops = max(1, configuration.loops)
        var configuration = configuration
        configuration.limits = configuration.limits.fitting(descriptors: DescriptorLimit.current, loops: loops)
        var workers: [Worker] = []
        for _ in 0..<loops {
            workers.append(try Worker(configuration: configuration, record: record))
        }
        self.workers = workers
        records = configuration.tlsRecords
        aliases = configuration.trustDomainAliases
        state = Mutex(State())
        for (index, worker) in workers.enumerated() {
            _ = try SystemThread(name: "culvert-loop-\(index)") { worker.loop.run() }
        }
    }

    // MARK: Snapshots in

    /// From now on new connections are routed by this snapshot; those that waited for it go on.
    public func publish(_ mesh: MeshSnapshot) {
        onEveryWorker { $0.publish(mesh) }
    }

    /// The certificate under which the identity's pods connect and accept from now on.
    public func publish(_ svid: X509SVID) throws {
        try state.withLock { state in
            state.svids[svid.id] = svid
            try distribute(svid, state.trust)
        }
    }

    /// The trust anchors by which peers are verified from now on, and what they have revoked. Where that withdraws trust, live tunnels
    /// are verified again: one that would be refused now takes no new streams, and is cut after `distrustGrace`.
    public func publish(_ bundles: TrustBundleSet) throws {
        let bundles = aliases.applied(to: bundles)
        try state.withLock { state in
            guard bundles != state.bundles else { return }
            let withdraws = bundles.withdraws(from: state.bundles)
            let trust = PeerTrust(bundles)
            state.bundles = bundles
            state.trust = trust
            for svid in state.svids.values { try distribute(svid, trust) }
            onEveryWorker { $0.publish(trust, withdraws: withdraws) }
        }
    }

    /// No pod of this node has the identity any more: its key is dropped.
    public func forget(_ identity: SPIFFEID) {
        state.withLock { state in
            state.svids[identity] = nil
            onEveryWorker { $0.forget(identity) }
        }
    }

    private func distribute(_ svid: X509SVID, _ trust: PeerTrust) throws {
        let contexts = try IdentityContexts(svid: svid, trust: trust, records: records)
        onEveryWorker { $0.publish(contexts, for: svid.id) }
    }

    // MARK: Signers

    /// How many live tunnels depend on each key, by the identifier of whoever signed a certificate of either end's chain.
    public func tunnelsBySigner() async throws -> [String: Int] {
        var counts: [String: Int] = [:]
        for worker in workers { counts.merge(try await call(worker) { $0.tunnelsBySigner }, uniquingKeysWith: +) }
        return counts
    }

    /// Tunnels that depend on these keys take no new streams and end with their last one, once the pod's own certificate does not depend
    /// on them any more.
    public func retire(dependingOn signers: Set<String>) {
        onEveryWorker { $0.retire(dependingOn: signers) }
    }

    // MARK: Pods

    /// Listens in the pod's network namespace; returns when all its listeners accept.
    ///
    /// `listeners` are those of a predecessor: they are used where they are this pod's, so that what waits in them is not lost.
    /// - Throws: `Errno` of the call that failed; then the pod has no listeners at all.
    public func attach(_ pod: Pod, inheriting listeners: [SharedListener] = []) async throws {
        let usable = listeners.filter { $0.listens(in: pod.networkNamespace) }
        let shares = SharedListener.shares(of: usable, among: workers.count)
        for (index, worker) in workers.enumerated() {
            do {
                try await call(worker) { try $0.attach(pod, inheriting: shares[index]) }
            } catch {
                for earlier in workers[..<index] {
                    try await call(earlier) { $0.detach(uid: pod.name.uid, after: .zero) }
                }
                throw error
            }
        }
    }

    /// Stops listening for the pod; its connections are told, and cut after the deadline.
    public func detach(podUID: String, deadline: Duration) async throws {
        for worker in workers {
            try await call(worker) { $0.detach(uid: podUID, after: deadline) }
        }
    }

    // MARK: Hand-over

    /// Copies of the pod's listening sockets, for a successor; none when the pod is not served here. Connections are accepted
    /// by whoever is first until `standBy`.
    public func share(podUID: String) async throws -> [SharedListener] {
        var shared: [SharedListener] = []
        for worker in workers { shared += try await call(worker) { try $0.share(uid: podUID) } }
        return shared
    }

    /// Accepts no more for the pods that were shared: the successor does. Peers are told to connect anew, and what is open goes on.
    public func standBy() async throws {
        for worker in workers { try await call(worker) { $0.standBy() } }
    }

    /// Accepts again for every pod: the successor is gone. Throws the last pod's error when not all can be served.
    public func takeBack() async throws {
        var failure: (any Error)?
        for worker in workers {
            do { try await call(worker) { try $0.takeBack() } } catch { failure = error }
        }
        if let failure { throw failure }
    }

    // MARK: Life

    /// Connections, tunnels included, that are open now.
    public func connectionCount() async throws -> Int {
        var count = 0
        for worker in workers { count += try await call(worker) { $0.connections } }
        return count
    }

    /// Closes the listeners, lets connections finish until the deadline, then cuts them and returns. To be called once; after
    /// it every other call throws.
    public func drain(deadline: Duration) async throws {
        for worker in workers { try await call(worker) { $0.drain(deadline: deadline) } }
        let end = ContinuousClock.now + deadline
        while try await connectionCount() > 0, ContinuousClock.now < end {
            try await Task.sleep(for: .milliseconds(20))
        }
        state.withLock { state in
            state.hasStopped = true
            onEveryWorker { $0.loop.stop() }
        }
    }

    private func onEveryWorker(_ body: @escaping @Sendable (Worker) -> Void) {
        for worker in workers { worker.loop.execute { body(worker) } }
    }

    /// Runs `body` on the worker's thread and returns what it returned; throws when the loops have stopped.
    private func call<R: Sendable>(_ worker: Worker, _ body: @escaping @Sendable (Worker) throws -> R) async throws -> R
    {
        try await withCheckedThrowingContinuation { continuation in
            // Under the lock: a job that is queued before the loop is told to stop is run.
            let isQueued = state.withLock { state in
                guard !state.hasStopped else { return false }
                worker.loop.execute { continuation.resume(with: Result { try body(worker) }) }
                return true
            }
            if !isQueued { continuation.resume(throwing: DataplaneStopped()) }
        }
    }
}

/// The data plane was drained, and does nothing more.
public struct DataplaneStopped: Error, CustomStringConvertible {
    public var description: String { "the data plane has stopped" }
}
