import FoundationEssentials
import IPAddressing
import Logging
import MeshAPI
import Observability
import SPIFFE
import WorkloadIdentity

/// How a node gets a certificate of its own: the one on disk, or a join token shown to the authority, tried until it works.
struct NodeAttestation: Sendable {
    let settings: ProxyNode.Settings
    let credentials: NodeCredentials
    let readiness: Readiness
    let logger: Logger

    /// Returns when the node has a certificate; throws only when the task is cancelled.
    func identity() async throws -> (svid: X509SVID, bundle: TrustBundle) {
        let saved = credentials.load(now: Date()) { logger.warning("\($0)") }
        if let saved, saved.id == (try nodeID) { return (saved, settings.bundle) }
        var retry = RetrySchedule()
        while true {
            do {
                let attested = try await attest()
                try credentials.save(attested.svid)
                logger.info("Node attested", metadata: ["identity": "\(attested.svid.id)"])
                return attested
            } catch {
                try Task.checkCancellation()
                let pause = retry.next(draw: .random(in: 0..<1))
                readiness.unmet(ProxyNode.Condition.authority, because: "\(error)")
                logger.warning("Node not attested yet", metadata: ["error": "\(error)", "retry": "\(pause)"])
                try await Task.sleep(for: pause)
            }
        }
    }

    private var nodeID: SPIFFEID {
        get throws { try SPIFFEID(trustDomain: settings.trustDomain, path: "/culvert/node/\(settings.node)") }
    }

    private func attest() async throws -> (svid: X509SVID, bundle: TrustBundle) {
        // Read at each attempt: the operator may put a fresh token where a used one was.
        guard let file = settings.joinTokenFile else {
            throw CommandFailure("this node has no certificate yet, and --join-token-file was not given")
        }
        let token = String(try TextFile.read(file).prefix { !$0.isWhitespace })
        let id = try nodeID
        let request = try IdentityRequest(uri: id.description)
        let attestor = NodeAttestor(address: settings.attestation, bundle: settings.bundle)
        let attestation = try await attestor.attest(joinToken: token, csr: request.csr)
        let svid = try ReceivedSVID.check(
            attestation.certificates, key: request.key, identity: id, bundles: TrustBundleSet([attestation.bundle]),
            now: Date())
        return (svid, attestation.bundle)
    }
}
