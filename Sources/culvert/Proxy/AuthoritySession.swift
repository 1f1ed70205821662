import FoundationEssentials
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
final class AuthoritySession: SVIDIssuer {
    private let settings: ProxyNode.Settings
    private let readiness: Readiness
    private let logger: Logger
    private let onBundle: @Sendable (TrustBundle) -> Void
    private let leaves: LeafRegister
    private let state = Mutex(State())

    private struct State {
        var client: AuthorityClient?
        var bundle: TrustBundle?
    }

    init(
        settings: ProxyNode.Settings, leaves: LeafRegister, readiness: Readiness, logger: Logger,
        onBundle: @escaping @Sendable (TrustBundle) -> Void
    ) {
        self.settings = settings
        self.leaves = leaves
        self.readiness = readiness
        self.logger = logger
        self.onBundle = onBundle
    }

    var bundles: TrustBundleSet { TrustBundleSet([state.withLock { $0.bundle } ?? settings.bundle]) }

    func issue(
        podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest
    ) async throws(IssuanceError) -> [Certificate] {
        guard let client = state.withLock({ $0.client }) else {
            throw IssuanceError(.unreachable, "this node has not attested yet")
        }
        return try await client.issue(podUID: podUID, identity: identity, csr: csr)
    }

    /// Until cancelled.
    func run() async throws {
        let credentials = try NodeCredentials(directory: settings.stateDirectory)
        let attestation = NodeAttestation(
            settings: settings, credentials: credentials, readiness: readiness, logger: logger)
        let (svid, bundle) = try await attestation.identity()
        accept(bundle)
        let client = try AuthorityClient(
            address: settings.authority, trustDomain: settings.trustDomain, svid: svid, bundles: bundles)
        state.withLock { $0.client = client }
        readiness.met(ProxyNode.Condition.authority)
        try await withThrowingDiscardingTaskGroup { group in
            group.addTask { try await client.run() }
            group.addTask { try await self.followBundle(client) }
            group.addTask { try await self.renew(svid, client, credentials) }
        }
    }

    private func accept(_ bundle: TrustBundle) {
        let isNewer = state.withLock { state in
            if let present = state.bundle, present.sequence > bundle.sequence { return false }
            state.bundle = bundle
            return true
        }
        guard isNewer else {
            return logger.warning(
                "The authority sent an older trust bundle; the present one stays",
                metadata: ["sequence": "\(bundle.sequence)"])
        }
        onBundle(bundle)
    }

    private func followBundle(_ client: AuthorityClient) async throws {
        var retry = RetrySchedule()
        while true {
            do {
                try await client.followBundle {
                    BundleReport(
                        sequence: self.state.withLock { $0.bundle?.sequence ?? 0 }, version: "0.1.0",
                        leaves: self.leaves.summary)
                } onBundle: { bundle in
                    self.accept(bundle)
                    client.replaceBundles(with: self.bundles)
                    self.logger.info("Trust bundle received", metadata: ["sequence": "\(bundle.sequence)"])
                }
                retry = RetrySchedule()
            } catch {
                logger.debug("Trust bundle not followed", metadata: ["error": "\(error)"])
            }
            try await Task.sleep(for: retry.next(draw: .random(in: 0..<1)))
        }
    }

    /// The node's own certificate, renewed in time; on failure the old one is used to its end.
    private func renew(_ first: X509SVID, _ client: AuthorityClient, _ credentials: NodeCredentials) async throws {
        var svid = first
        while true {
            let schedule = RenewalSchedule(notBefore: svid.notBefore, notAfter: svid.notAfter, draw: .random(in: 0..<1))
            try await Task.sleep(for: .seconds(max(0, schedule.renewAt.timeIntervalSinceNow)))
            var retry = RetrySchedule()
            while true {
                do {
                    svid = try await renewed(svid.id, client)
                    try client.replaceIdentity(with: svid)
                    try credentials.save(svid)
                    logger.info("Node certificate renewed", metadata: ["until": "\(svid.notAfter.formatted(.iso8601))"])
                    break
                } catch {
                    try Task.checkCancellation()
                    let pause = retry.next(draw: .random(in: 0..<1))
                    logger.warning(
                        "Node certificate not renewed", metadata: ["error": "\(error)", "retry": "\(pause)"])
                    try await Task.sleep(for: pause)
                }
            }
        }
    }

    private func renewed(_ id: SPIFFEID, _ client: AuthorityClient) async throws -> X509SVID {
        let request = try IdentityRequest(uri: id.description)
        let certificates = try await client.renewNode(csr: request.csr)
        return try ReceivedSVID.check(certificates, key: request.key, identity: id, bundles: bundles, now: Date())
    }
}
