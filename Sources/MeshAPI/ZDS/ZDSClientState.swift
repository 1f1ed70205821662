/// What a network namespace is known by as long as it lives.
struct NamespaceIdentity: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64
}

/// Which pods the proxy serves, and what a request of the agent's changes. A value without I/O.
///
/// It outlives connections: pods go on being served while the agent is away, and the next snapshot says which remain.
struct ZDSClientState {
    /// What is to be done, in this order, before the request is acknowledged. The outcome of a start is reported back.
    enum Action: Equatable {
        case stop(uid: String)
        case start(uid: String, ZDSWorkloadInfo)
    }

    static let podsMax = 4096
    static let retryInterval = Duration.seconds(5)

    private struct Pod: Equatable {
        let info: ZDSWorkloadInfo
        let namespace: NamespaceIdentity
    }

    private struct PendingPod {
        let pod: Pod
        var reason: String
    }

    /// Served.
    private var running: [String: Pod] = [:]
    /// Announced and not to be started, so far.
    private var pending: [String: PendingPod] = [:]
    private var starting: [String: Pod] = [:]
    /// What the snapshot underway has named; nil when none is.
    private var snapshot: Set<String>?
    private var isConnected = false
    private var hasSnapshot = false
    private var nextRetry: ContinuousClock.Instant?

    var runningCount: Int { running.count }
    var pendingCount: Int { pending.count }

    /// When `retries` is due; nil when nothing is pending.
    var retryTime: ContinuousClock.Instant? { nextRetry }

    /// Nil: ready. Else what is missing.
    var unreadyReason: String? {
        guard isConnected else { return "not connected to the node agent" }
        guard hasSnapshot else { return "the node agent has not named all pods yet" }
        guard let first = pending.min(by: { $0.key < $1.key }) else { return nil }
        return "\(pending.count) pods cannot be served, such as \(first.key): \(first.value.reason)"
    }

    mutating func connected() {
        isConnected = true
        hasSnapshot = false
        snapshot = []
        pending = [:]
        nextRetry = nil
    }

    mutating func disconnected() {
        isConnected = false
        hasSnapshot = false
        snapshot = nil
    }

    /// Whether the pod is waiting to be started again, so that its namespace must be kept.
    func isPending(_ uid: String) -> Bool { pending[uid] != nil }

    /// `namespace` is what came with the request. An error is to be answered and ends the connection.
    mutating func receive(_ request: ZDSRequest, namespace: NamespaceIdentity?) throws(ZDSError) -> [Action] {
        guard (namespace != nil) == request.carriesNamespace else {
            throw request.carriesNamespace
                ? .missing("the network namespace of AddWorkload")
                : .unexpected("a descriptor with a message that carries none")
        }
        switch request {
        case .add(let uid, let info):
            guard let namespace else { return [] }
            return try add(uid, Pod(info: info, namespace: namespace))
        case .keep(let uid):
            guard snapshot != nil else { throw .unexpected("KeepWorkload after SnapshotSent") }
            try note(uid)
            return []
        case .delete(let uid):
            pending[uid] = nil
            if pending.isEmpty { nextRetry = nil }
            // Before the end of the snapshot stopping waits for it, as for every pod that it does not name.
            guard snapshot == nil else {
                snapshot?.remove(uid)
                return []
            }
            return running.removeValue(forKey: uid) == nil ? [] : [.stop(uid: uid)]
        case .snapshotSent:
            guard let named = snapshot else { throw .unexpected("a second SnapshotSent") }
            snapshot = nil
            hasSnapshot = true
            let gone = running.keys.filter { !named.contains($0) }.sorted()
            for uid in gone { running[uid] = nil }
            return gone.map(Action.stop)
        }
    }

    private mutating func add(_ uid: String, _ pod: Pod) throws(ZDSError) -> [Action] {
        guard running[uid] != nil || running.count + pending.count < Self.podsMax else {
            throw .unexpected("more than \(Self.podsMax) pods")
        }
        if snapshot != nil { try note(uid) }
        // Told again, as after the agent's restart. Another service account in the same namespace is another pod.
        if running[uid] == pod { return [] }
        pending[uid] = nil
        starting[uid] = pod
        let stop: [Action] = running.removeValue(forKey: uid) == nil ? [] : [.stop(uid: uid)]
        return stop + [.start(uid: uid, pod.info)]
    }

    private mutating func note(_ uid: String) throws(ZDSError) {
        guard snapshot.map({ $0.count < Self.podsMax }) == true else {
            throw .unexpected("more than \(Self.podsMax) pods")
        }
        snapshot?.insert(uid)
    }

    mutating func started(_ uid: String) {
        guard let pod = starting.removeValue(forKey: uid) else { return }
        pending[uid] = nil
        running[uid] = pod
        if pending.isEmpty { nextRetry = nil }
    }

    mutating func failed(_ uid: String, _ reason: String, now: ContinuousClock.Instant) {
        guard let pod = starting.removeValue(forKey: uid) else { return }
        pending[uid] = PendingPod(pod: pod, reason: reason)
        nextRetry = nextRetry ?? now + Self.retryInterval
    }

    /// The pods to start once more, once `retryTime` has come.
    mutating func retries(now: ContinuousClock.Instant) -> [Action] {
        guard let due = nextRetry, due <= now else { return [] }
        nextRetry = now + Self.retryInterval
        return pending.sorted { $0.key < $1.key }.map { uid, entry in
            starting[uid] = entry.pod
            return .start(uid: uid, entry.pod.info)
        }
    }
}

extension ZDSRequest {
    fileprivate var carriesNamespace: Bool {
        if case .add = self { true } else { false }
    }
}
