import IPAddressing
import MeshAPI
import SPIFFE
import SwiftASN1
import WorkloadIdentity
import X509

/// A pod's SVID, got as its node would get it: attested with a join token, then issued.
///
/// Its sockets are of the network namespace that the process began in, which has to reach the authority.
struct ClientCertificateRequest {
    let authority: SocketAddress
    let attestation: SocketAddress
    let bundlePath: String
    let node: String
    let podUID: String
    let id: String

    /// The chain, leaf first, and the key, both PEM.
    func run(joinToken: String) async throws -> (chain: String, key: String) {
        let id = try SPIFFEID(id)
        let bundle = try TrustBundle(trustDomain: id.trustDomain, pem: TextFile.read(bundlePath))
        // The authority knows the node by the token; the name in a request decides nothing.
        let nodeRequest = try IdentityRequest(uri: "spiffe://\(id.trustDomain.name)/culvert/node/\(node)")
        let attested = try await NodeAttestor(address: attestation, bundle: bundle)
            .attest(joinToken: joinToken, csr: nodeRequest.csr)
        let nodeSVID = try X509SVID(certificates: attested.certificates, privateKey: nodeRequest.key)

        let client = try AuthorityClient(
            address: authority, trustDomain: id.trustDomain, svid: nodeSVID, bundles: TrustBundleSet([attested.bundle]))
        let podRequest = try IdentityRequest(uri: id.description)
        let chain = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.run() }
            defer { group.cancelAll() }
            return try await client.issue(podUID: podUID, identity: id, csr: podRequest.csr)
        }
        return (chain.map { $0.pem() }.joined(), try podRequest.key.serializeAsPEM().pemString + "\n")
    }
}
