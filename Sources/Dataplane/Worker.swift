import Glibc
import HBONE
import IPAddressing
import LinuxNetworking
import MeshState
import SPIFFE

/// One event loop and everything that lives on it: listeners, tunnels, connections. Nothing is shared between workers.
///
/// Confined to the loop's thread, except for `loop.execute`, by which the rest of the process reaches it.
final class Worker: @unchecked Sendable {
    let loop: EventLoop
    let configuration: DataplaneConfiguration
    let record: RecordSink
    /// Every read of a tunnel or a plaintext socket goes through this buffer; what cannot be passed on at once is copied.
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 * 1024, alignment: 4096)

    /// The loop's thread's own namespace.
    private var ownNamespace: NetworkNamespace?

    private(set) var mesh = MeshSnapshot()
    /// nil until bundles were published.
    private var trust: PeerTrust?
    private var identities: [SPIFFEID: IdentityContexts] = [:]
    private var pods: [String: PodProxy] = [:]
    /// Removed, but with connections that have until their deadline.
    private var draining: [Departing] = []

    private struct Departing {
        weak var pod: PodProxy?
    }

    private var held: [ObjectIdentifier: any HeldConnection] = [:]
    private var unknown = UnknownDestinations()
    private var random = LoopRandom()
    private(set) var connections = 0
    private var isDraining = false
    private var isStandingBy = false
    let bounds: WorkerBounds

    init(configuration: DataplaneConfiguration, record: @escaping RecordSink) throws(Errno) {
        self.configuration = configuration
        self.record = record
        loop = try EventLoop()
        bounds = WorkerBounds(loop: loop, limits: configuration.limits, sink: record)
        bounds.endIdle = { [unowned self] in endIdle() }
        bounds.freeMemory = { [unowned self] in freeMemory() }
    }

    deinit { scratch.deallocate() }

    // MARK: What the rest of the process tells us

    func publish(_ mesh: MeshSnapshot) {
        self.mesh = mesh
        for pod in pods.values + draining.compactMap(\.pod) { pod.meshChanged() }
        resumeHeld()
    }

    func publish(_ contexts: IdentityContexts, for identity: SPIFFEID) {
        identities[identity] = contexts
        for pod in pods.values where pod.pod.identity == identity { pod.identityRenewed() }
        resumeHeld()
    }

    func publish(_ trust: PeerTrust, withdraws: Bool) {
        self.trust = trust
        if withdraws { verifyAgain(parts.compactMap { $0 as? TunnelConnection }[...]) }
    }

    /// Some at a time: a verification costs as much as the rest of a handshake, and everybody else waits for it.
    private func verifyAgain(_ tunnels: ArraySlice<TunnelConnection>) {
        for tunnel in tunnels.prefix(Self.verificationsPerTurn) { verifyAgain(tunnel) }
        let rest = tunnels.dropFirst(Self.verificationsPerTurn)
        guard !rest.isEmpty else { return }
        _ = loop.schedule(after: .zero) { [weak self] in self?.verifyAgain(rest) }
    }

    private static let verificationsPerTurn = 16

    /// Also when a handshake is over that began before the trust that holds now.
    func verifyAgain(_ tunnel: TunnelConnection) {
        guard let trust, let proof = tunnel.proof, let objection = trust.objection(to: proof, role: tunnel.role) else {
            return
        }
        tunnel.distrust(objection)
    }

    var trustGeneration: ObjectIdentifier? { trust.map(ObjectIdentifier.init) }

    func forget(_ identity: SPIFFEID) {
        identities[identity] = nil
        for pod in pods.values where pod.pod.identity == identity { pod.identityRenewed() }
    }

    func attach(_ pod: Pod, inheriting listeners: [SharedListener]) throws(Errno) {
        guard !isDraining else { throw Errno(code: ESHUTDOWN, call: "attach a pod while draining") }
        // The same pod in a new network namespace: its old listeners are of no use to anybody.
        detach(uid: pod.name.uid, after: .zero)
        let proxy = PodProxy(worker: self, pod: pod)
        // While a successor serves, pods that come are its own.
        if !isStandingBy { try proxy.listeners.listen(inheriting: listeners) }
        pods[pod.name.uid] = proxy
        proxy.meshChanged()
    }

    func detach(uid: String, after deadline: Duration) {
        guard let pod = pods.removeValue(forKey: uid) else { return }
        drain(pod, deadline: deadline, reason: "the pod was removed")
    }

    private func drain(_ pod: PodProxy, deadline: Duration, reason: String) {
        pod.drain(deadline: deadline, reason: reason)
        draining.removeAll { $0.pod == nil }
        draining.append(Departing(pod: pod))
    }

    /// No connection is accepted from now on; those that live have until the deadline.
    func drain(deadline: Duration) {
        isDraining = true
        for pod in pods.values { drain(pod, deadline: deadline, reason: "the proxy is shutting down") }
        pods = [:]
    }

    // MARK: Hand-over

    func share(uid: String) throws(Errno) -> [SharedListener] { try pods[uid]?.listeners.share() ?? [] }

    /// A pod whose listeners the successor did not ask for is served on.
    func standBy() {
        isStandingBy = true
        for pod in pods.values where pod.listeners.areShared { pod.standBy() }
    }

    /// Serves as before; a pod that cannot be served does not keep the others from it.
    func takeBack() throws(Errno) {
        isStandingBy = false
        var failure: Errno?
        for pod in pods.values {
            do throws(Errno) { try pod.listeners.resume() } catch { failure = error }
        }
        if let failure { throw failure }
    }

    // MARK: What connections ask

    /// The identity's TLS contexts, unless there are none or they have expired.
    func contexts(for identity: SPIFFEID) -> IdentityContexts? {
        guard let contexts = identities[identity], !contexts.isExpired else { return nil }
        return contexts
    }

    func nextRandom() -> UInt64 { random.next() }

    /// Where the loop's thread is when it is not in a pod.
    func home() throws(Errno) -> NetworkNamespace {
        if let ownNamespace { return ownNamespace }
        let home = try NetworkNamespace.current()
        ownNamespace = home
        return home
    }

    func opened(_ part: any PodConnection) {
        connections += 1
        bounds.sockets.take(part.socketCount, for: part.account)
    }

    func closed(_ part: any PodConnection) {
        connections -= 1
        bounds.sockets.giveBack(part.socketCount, for: part.account)
    }

    /// Keeps a connection until the mesh or an identity changes, or its time is up.
    func hold(_ connection: any HeldConnection) { held[ObjectIdentifier(connection)] = connection }

    func letGo(_ connection: any HeldConnection) { held[ObjectIdentifier(connection)] = nil }

    /// What is known of an address that the mesh does not know; `wait` until held connections are resumed.
    func look(at address: IPAddress) -> UnknownDestinations.Verdict {
        guard let lookUp = configuration.lookUp else { return .outside }
        let verdict = unknown.look(at: address, now: loop.now)
        guard verdict == .ask else { return verdict }
        lookUp(address) { [self] obstacle in
            loop.execute { self.answered(address, obstacle: obstacle) }
        }
        return .wait
    }

    private func answered(_ address: IPAddress, obstacle: String?) {
        unknown.answered(address, obstacle: obstacle, now: loop.now)
        resumeHeld()
    }

    private func resumeHeld() {
        for connection in held.values { connection.retry() }
    }

    // MARK: Signers

    private var tunnels: [TunnelConnection] { parts.compactMap { $0 as? TunnelConnection }.filter { $0.proof != nil } }

    /// How many live tunnels depend on each key.
    var tunnelsBySigner: [String: Int] {
        tunnels.reduce(into: [:]) { counts, tunnel in for signer in tunnel.signers { counts[signer, default: 0] += 1 } }
    }

    /// Nothing new goes over tunnels that depend on these keys, unless it would on their successors, too.
    func retire(dependingOn signers: Set<String>) {
        for tunnel in tunnels where !tunnel.signers.isDisjoint(with: signers) {
            guard let contexts = contexts(for: tunnel.pod.pod.identity), signers.isDisjoint(with: contexts.signers)
            else {
                continue
            }
            tunnel.drain()
        }
    }

    // MARK: Pressure

    private var parts: [any PodConnection] {
        (pods.values + draining.compactMap(\.pod)).flatMap { Array($0.parts.values) }
    }

    private func endIdle() { for part in parts { part.endIfIdle() } }

    private func freeMemory() {
        let holders = parts.filter { $0.heldBytes > 0 }
        for index in bounds.memory.victims(of: holders.map { ($0.account.owner, $0.heldBytes) }) {
            let text = "cut to bound memory: \(holders[index].heldBytes) bytes were held that nobody reads"
            holders[index].abort(ConnectionFailure(.overload, text))
        }
    }
}

/// A connection that waits for something that the control plane will bring.
protocol HeldConnection: AnyObject {
    /// Something changed: look again.
    func retry()
}

/// For choices and trace identifiers, of which none is a secret: SplitMix64, seeded by the system.
private struct LoopRandom: RandomNumberGenerator {
    private var state = UInt64.random(in: .min ... .max)

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
        return word ^ word >> 31
    }
}
