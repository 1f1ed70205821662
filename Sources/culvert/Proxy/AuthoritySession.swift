import FoundationEssentials
import IPAddressing
import Logging
import MeshAPI
import Observability
import SPIFFE
import Synchronization
import WorkloadIdentity
import X509

/// The node's dealings with the authority: attested once, then identities, the trust bundle, and its own renewal.
///
/// Until the node has attested, asking it for an SVID is answered with `unreachable`, which is tried again.
final class AuthoritySession: IdentitySource {
    struct Settings: Sendable {
        let node: String
        let trustDomain: TrustDomain
        /// Where it serves attested nodes, and where it attests them.
        let authority: SocketAddress
        let attestation: SocketAddress
        /// By which it is recognised.
        let bundle: TrustBundle
        /// Where that was read, and is read again when the authority is not recognised.
        let bundleFile: String
        let joinTokenFile: String?
        let stateDirectory: String
        /// The projected token of this pod's service account, by which an authority on Kubernetes knows its node; in place of a join token.
        var kubernetesTokenFile: String?

        /// Read at each attestation: the kubelet replaces a projected token, the operator a used one.
        var tokenFile: String? { kubernetesTokenFile ?? joinTokenFile }
    }

    private let settings: Settings
    private let readiness: Readiness
    private let logger: Logger
    private let onTrust: @Sendable (TrustBundleSet) -> Void
    private let leaves: LeafRegister
    private let connections: @Sendable () async -> [String: Int]
    private let retire: @Sendable (Set<String>) -> Void
    private let trust: NodeTrustKeeper
    private let client = Mutex<AuthorityClient?>(nil)
    private let state = Mutex(State())

    private struct State {
        /// What the authority says.
        var tainted: Set<String> = []
        /// That, and what it has withdrawn: nothing on this node should depend on these keys.
        var shunned: Set<String> = []
        /// Of the SVID by which the authority does not know the node any more.
        var lostSerial: String?
        /// Of the node's own renewal, which looks again.
        var waiter: AsyncStream<Void>.Continuation?
    }

    private static let progressInterval = Duration.seconds(1)
    /// How often it is looked whether another process of this node has renewed the certificate. For longer than this, by far, the authority
    /// takes the one before for good.
    static let fileInterval = Duration.seconds(5)

    private let taints: (stream: AsyncStream<Set<String>>, continuation: AsyncStream<Set<String>>.Continuation)
    private let federated = Mutex<[TrustBundle]>([])
    private let inUse = Mutex<X509SVID?>(nil)
    private let fileInterval: Duration

    /// `connections` says how many there are by the keys that they depend on; those of the keys given to `retire` are to take on nothing
    /// new.
    init(
        settings: Settings, leaves: LeafRegister, readiness: Readiness, logger: Logger,
        connections: @escaping @Sendable () async -> [String: Int] = { [:] },
        retire: @escaping @Sendable (Set<String>) -> Void = { _ in },
        fileInterval: Duration = AuthoritySession.fileInterval,
        onTrust: @escaping @Sendable (TrustBundleSet) -> Void
    ) {
        self.connections = connections
        self.retire = retire
        self.fileInterval = fileInterval
        self.settings = settings
        self.leaves = leaves
        self.readiness = readiness
        self.logger = logger
        self.onTrust = onTrust
        trust = NodeTrustKeeper(
            bundle: settings.bundle, bundleFile: settings.bundleFile, directory: settings.stateDirectory, logger: logger
        )
        taints = AsyncStream.makeStream(of: Set<String>.self, bufferingPolicy: .bufferingNewest(1))
    }

    /// The node's own, by which the authority knows it.
    var nodeSVID: X509SVID? { inUse.withLock { $0 } }

    var bundles: TrustBundleSet { TrustBundleSet([trust.current.forPeers] + federated.withLock { $0 }) }

    func issue(
        podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest, urgency: IssuanceUrgency
    ) async throws(IssuanceError) -> [Certificate] {
        let svid = nodeSVID
        guard let client = client.withLock({ $0 }) else {
            throw IssuanceError(.unreachable, "this node has not attested yet")
        }
        do throws(IssuanceError) {
            return try await client.issue(podUID: podUID, identity: identity, csr: csr, urgency: urgency)
        } catch {
            if error.kind == .attestAgain { lostStanding(with: svid, because: error.message) }
            throw error
        }
    }

    func issue(_ requests: [IssuanceRequest]) async -> [Result<[Certificate], IssuanceError>] {
        let svid = nodeSVID
        guard let client = client.withLock({ $0 }) else { return await issueEachByItself(requests) }
        let outcomes = await client.issue(requests)
        for case .failure(let error) in outcomes where error.kind == .attestAgain {
            lostStanding(with: svid, because: error.message)
            break
        }
        return outcomes
    }

    /// Calls that were under way say so, too: what counts is which SVID they were made with.
    private func lostStanding(with svid: X509SVID?, because reason: String) {
        guard let svid else { return }
        let (isNew, waiter) = state.withLock { state in
            defer { state.lostSerial = svid.serialNumber }
            return (state.lostSerial != svid.serialNumber, state.waiter)
        }
        if isNew {
            logger.warning("The authority does not know this node any more", metadata: ["reason": "\(reason)"])
        }
        waiter?.yield()
    }

    /// Until cancelled. What was signed by the keys that `onTaint` names is to be renewed at once; each call replaces the one before.
    func run(onTaint: @escaping @Sendable (Set<String>) async -> Void) async throws {
        let credentials = try NodeCredentials(directory: settings.stateDirectory)
        try trust.load()
        let attestation = NodeAttestation(
            settings: settings, credentials: credentials, trust: trust, readiness: readiness, logger: logger)
        let (svid, bundle) = try await attestation.identity()
        if let bundle { accept(bundle) } else { onTrust(bundles) }
        shun(nil)
        leaves.replaceNode(svid)
        let client = try AuthorityClient(
            address: settings.authority, trustDomain: settings.trustDomain, svid: svid,
            bundles: TrustBundleSet([try trust.forAuthority]))
        inUse.withLock { $0 = svid }
        self.client.withLock { $0 = client }
        readiness.met(ProxyNode.Condition.authority)
        try await withThrowingDiscardingTaskGroup { group in
            group.addTask { try await client.run() }
            group.addTask { try await self.followBundle(client, attestation) }
            group.addTask { try await self.renew(svid, client, attestation) }
            group.addTask { try await self.followTaints(client, onTaint) }
        }
    }

    private func accept(_ bundle: TrustBundle) {
        guard trust.accept(bundle) else { return }
        onTrust(bundles)
        shun(nil)
    }

    private func accept(_ update: TrustUpdate) {
        guard trust.accept(update.bundle) else { return }
        federated.withLock { $0 = update.federated }
        onTrust(bundles)
    }

    /// What is tainted, where the authority has said it anew, and what was withdrawn while this node was not looking: an emergency does not
    /// wait for a node that is away.
    private func shun(_ tainted: Set<String>?) {
        let withdrawn = trust.current.withdrawnKeys
        let (isNew, shunned, present, waiter) = state.withLock { state in
            let before = (state.tainted, state.shunned)
            if let tainted { state.tainted = tainted }
            state.shunned = state.tainted.union(withdrawn)
            return (before != (state.tainted, state.shunned), state.shunned, state.tainted, state.waiter)
        }
        guard isNew else { return }
        if !present.isEmpty {
            logger.notice(
                "Certificates of a tainted authority are renewed",
                metadata: ["authorities": "\(present.sorted().joined(separator: " "))"])
        }
        taints.continuation.yield(shunned)
        waiter?.yield()
    }

    /// Passes on what is tainted, and tells the authority whenever less depends on it than before.
    private func followTaints(
        _ client: AuthorityClient, _ onTaint: @Sendable (Set<String>) async -> Void
    ) async throws {
        for await shunned in taints.stream {
            await onTaint(shunned)
            var reported: [BundleReport.Leaves]?
            while state.withLock({ !$0.tainted.isEmpty && $0.shunned == shunned }) {
                try await Task.sleep(for: Self.progressInterval)
                retire(shunned)
                let present = await uses
                guard present != reported else { continue }
                reported = present
                client.reportSoon()
            }
        }
    }

    /// What on this node depends on which authority. Roots of other trust domains are their own authorities' affair.
    private var uses: [BundleReport.Leaves] {
        get async {
            let roots = Set(trust.current.forPeers.authorities.map(\.keyIdentifier))
            return leaves.summary(connections: await connections().filter { roots.contains($0.key) })
        }
    }

    private func isTainted(_ svid: X509SVID) -> Bool {
        !state.withLock { $0.shunned }.isDisjoint(with: svid.signers)
    }

    private func followBundle(_ client: AuthorityClient, _ attestation: NodeAttestation) async throws {
        var retry = RetrySchedule()
        var complaint: String?
        while true {
            let svid = nodeSVID
            do throws(AuthorityCallError) {
                try await client.followBundle {
                    BundleReport(
                        sequence: self.trust.current.received?.sequence ?? 0, version: "0.1.0",
                        leaves: await self.uses)
                } onUpdate: { update in
                    self.accept(update)
                    self.shun(update.tainted)
                    self.readiness.met(ProxyNode.Condition.authority)
                    self.recogniseAuthority(client)
                    self.logger.info(
                        "Trust bundle received",
                        metadata: [
                            "sequence": "\(update.bundle.sequence)", "federated": "\(update.federatedNames)",
                        ])
                }
                (retry, complaint) = (RetrySchedule(), nil)
            } catch {
                logger.debug("Trust bundle not followed", metadata: ["error": "\(error)"])
                let isDisowned = svid.map { attestation.isDisowned($0, error) } ?? false
                if error.wantsAttestation || isDisowned { lostStanding(with: svid, because: "\(error)") }
                if attestation.isCutOff(error, svid) {
                    let text = attestation.explained(error, svid)
                    readiness.unmet(ProxyNode.Condition.authority, because: text)
                    if complaint != text {
                        logger.error("This node is cut off from its authority", metadata: ["reason": "\(text)"])
                    }
                    complaint = text
                }
                if trust.readFileAgain() { recogniseAuthority(client) }
            }
            try await Task.sleep(for: retry.next(draw: .random(in: 0..<1)))
        }
    }

    /// By the newest that is known.
    private func recogniseAuthority(_ client: AuthorityClient) {
        do {
            client.replaceBundles(with: TrustBundleSet([try trust.forAuthority]))
        } catch {
            logger.error("The authority is recognised as before", metadata: ["error": "\(error)"])
        }
    }

    /// When it is time, its signer is tainted, another process of this node has renewed it, or the authority does not know the node by it
    /// any more.
    private func untilDue(_ svid: X509SVID, since start: Date, _ credentials: NodeCredentials) async throws {
        let schedule = RenewalSchedule(notBefore: start, notAfter: svid.notAfter, draw: .random(in: 0..<1))
        let (looks, look) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        state.withLock { $0.waiter = look }
        look.yield()
        let timer = Task {
            try await Task.sleep(for: .seconds(max(0, schedule.renewAt.timeIntervalSinceNow)))
            look.finish()
        }
        let clock = Task { [fileInterval] in
            while true {
                try await Task.sleep(for: fileInterval)
                look.yield()
            }
        }
        defer {
            timer.cancel()
            clock.cancel()
        }
        var file = NodeCredentials.Watch(credentials)
        for await _ in looks {
            if isLost(svid) || file.sees(successorOf: svid) { return }
            if isTainted(svid) {
                return try await Task.sleep(for: IdentityLedger.taintSpread * Double.random(in: 0..<1))
            }
        }
        try Task.checkCancellation()
    }

    /// The node's own certificate, renewed in time; on failure the old one is used to its end, and then is still what the node asks with:
    /// the authority renews it for some days after its end.
    private func renew(_ first: X509SVID, _ client: AuthorityClient, _ attestation: NodeAttestation) async throws {
        var svid = first
        // Authorities date certificates back, some by more than they live.
        var start = max(first.notBefore, Date())
        while true {
            try await untilDue(svid, since: start, attestation.credentials)
            var retry = RetrySchedule()
            while true {
                let tried = attestation.joinToken
                do {
                    let next = try await attestation.successor(of: svid) { [svid] in
                        try await attestation.renewed(svid.id, client)
                    }
                    svid = next.svid
                    inUse.withLock { [svid] in $0 = svid }
                    if let bundle = next.bundle { accept(bundle) }
                    try client.replaceIdentity(with: svid)
                    leaves.replaceNode(svid)
                    start = min(Date(), svid.notAfter)
                    readiness.met(ProxyNode.Condition.authority)
                    logger.info("Node certificate renewed", metadata: ["until": "\(svid.notAfter.formatted(.iso8601))"])
                    break
                } catch {
                    try Task.checkCancellation()
                    let pause = attestation.pause(after: error, &retry)
                    let text = attestation.explained(error, svid)
                    logger.warning(
                        "Node certificate not renewed", metadata: ["error": "\(text)", "retry": "\(pause)"])
                    if svid.notAfter <= Date() {
                        readiness.unmet(
                            ProxyNode.Condition.authority,
                            because: "the node's certificate has expired and was not renewed: \(text)")
                    } else if isLost(svid) {
                        readiness.unmet(ProxyNode.Condition.authority, because: text)
                    }
                    if trust.readFileAgain() { recogniseAuthority(client) }
                    try await attestation.sleep(pause, havingTried: tried)
                }
            }
        }
    }

    private func isLost(_ svid: X509SVID) -> Bool { state.withLock { $0.lostSerial == svid.serialNumber } }
}
