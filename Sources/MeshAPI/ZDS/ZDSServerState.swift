/// What the agent has told each proxy about the node's pods, and what it tells next. A value without I/O.
///
/// A new connection is told every pod, then that this was all, then changes. One request at a time is in flight on a
/// connection. Only the newest connection hears of additions, as with istio-cni: during a proxy's replacement the old
/// one is not to take new pods. All hear of removals.
struct ZDSServerState {
    typealias ConnectionID = UInt64

    enum Received: Equatable {
        case hello
        /// `uid` is nil for the acknowledgement of the snapshot; `error` nil for success.
        case acknowledged(uid: String?, error: String?)
    }

    static let connectionsMax = 8
    static let podsMax = 4096
    static let acknowledgementTimeout = Duration.seconds(5)

    private struct Pod {
        let info: ZDSWorkloadInfo
        /// Grows with every change: a pod that came back under its uid is another one.
        let generation: UInt64
    }

    private struct InFlight {
        let request: ZDSRequest
        let deadline: ContinuousClock.Instant
    }

    private struct Connection {
        var greeted = false
        /// When it was accepted, a hello was due by then.
        var helloDeadline: ContinuousClock.Instant
        var snapshotSent = false
        /// What it was told of: uid to generation.
        var told: [String: UInt64] = [:]
        /// What it has said that it serves.
        var served: Set<String> = []
        var inFlight: InFlight?
    }

    private var pods: [String: Pod] = [:]
    private var generation: UInt64 = 0
    private var connections: [ConnectionID: Connection] = [:]
    private var nextConnection: ConnectionID = 0

    var podCount: Int { pods.count }
    var connectionCount: Int { connections.count }

    func isServed(uid: String) -> Bool { connections.values.contains { $0.served.contains(uid) } }

    /// Every connected proxy has heard of all that concerns it, and has answered.
    var isSettled: Bool {
        connections.allSatisfy { id, connection in
            var ahead = connection
            return connection.inFlight == nil && request(for: &ahead, isNewest: id == connections.keys.max()) == nil
        }
    }

    /// Throws when the pod cannot be told of: its request does not fit a packet, or there are too many.
    mutating func add(uid: String, _ info: ZDSWorkloadInfo) throws(ZDSError) {
        _ = try ZDSMessage.encode(.add(uid: uid, info))
        guard pods[uid] != nil || pods.count < Self.podsMax else {
            throw .unexpected("more than \(Self.podsMax) pods on one node")
        }
        generation += 1
        pods[uid] = Pod(info: info, generation: generation)
    }

    mutating func delete(uid: String) { pods[uid] = nil }

    /// Nil when there are too many connections.
    mutating func connect(now: ContinuousClock.Instant) -> ConnectionID? {
        guard connections.count < Self.connectionsMax else { return nil }
        defer { nextConnection += 1 }
        connections[nextConnection] = Connection(helloDeadline: now + Self.acknowledgementTimeout)
        return nextConnection
    }

    mutating func disconnect(_ id: ConnectionID) { connections[id] = nil }

    /// A packet of the proxy's; an error ends the connection.
    mutating func receive(_ packet: [UInt8], from id: ConnectionID) throws(ZDSError) -> Received {
        guard var connection = connections[id] else { throw .unexpected("the connection has ended") }
        defer { connections[id] = connection }
        guard connection.greeted else {
            try ZDSMessage.checkHello(packet)
            connection.greeted = true
            return .hello
        }
        guard let inFlight = connection.inFlight else { throw .unexpected("an acknowledgement of nothing") }
        let error = try ZDSMessage.decodeAcknowledgement(packet)
        connection.inFlight = nil
        switch inFlight.request {
        case .add(let uid, _) where error == nil: connection.served.insert(uid)
        case .add(let uid, _), .delete(let uid): connection.served.remove(uid)
        case .keep, .snapshotSent: break
        }
        return .acknowledged(uid: inFlight.request.uid, error: error)
    }

    /// The request to send now; nil until an acknowledgement or a change.
    mutating func next(for id: ConnectionID, now: ContinuousClock.Instant) -> ZDSRequest? {
        guard var connection = connections[id], connection.greeted, connection.inFlight == nil,
            let request = request(for: &connection, isNewest: id == connections.keys.max())
        else { return nil }
        connection.inFlight = InFlight(request: request, deadline: now + Self.acknowledgementTimeout)
        connections[id] = connection
        return request
    }

    private func request(for connection: inout Connection, isNewest: Bool) -> ZDSRequest? {
        // Removals first: an address may pass from one pod to the next.
        if let uid = connection.told.keys.filter({ pods[$0] == nil }).min() {
            connection.told[uid] = nil
            return .delete(uid: uid)
        }
        if isNewest || !connection.snapshotSent {
            let untold = pods.filter { connection.told[$0.key] != $0.value.generation }
            if let (uid, pod) = untold.min(by: { $0.value.generation < $1.value.generation }) {
                connection.told[uid] = pod.generation
                return .add(uid: uid, pod.info)
            }
        }
        guard !connection.snapshotSent else { return nil }
        connection.snapshotSent = true
        return .snapshotSent
    }

    /// The proxy owes a hello or an acknowledgement for too long: end the connection.
    func isOverdue(_ id: ConnectionID, now: ContinuousClock.Instant) -> Bool {
        guard let connection = connections[id] else { return false }
        guard connection.greeted else { return now >= connection.helloDeadline }
        return connection.inFlight.map { now >= $0.deadline } ?? false
    }
}

extension ZDSRequest {
    /// Of the pod it is about; nil for the end of the snapshot.
    var uid: String? {
        switch self {
        case .add(let uid, _), .delete(let uid), .keep(let uid): uid
        case .snapshotSent: nil
        }
    }
}
