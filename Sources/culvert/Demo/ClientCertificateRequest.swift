import FoundationEssentials
import IPAddressing
import MeshAPI
import SPIFFE
import SwiftASN1
import WorkloadIdentity
import X509

/// A pod's SVID, got as its node gets it: with the node's own SVID, from where its proxy keeps that. A second one for the node, with a
/// join token, would make the proxy's worthless.
///
/// Its sockets are of the network namespace that the process began in, which has to reach the authority.
struct ClientCertificateRequest {
    let authority: SocketAddress
    let bundlePath: String
    /// The proxy's.
    let stateDirectory: String
    let podUID: String
    let id: String

    /// The chain, leaf first, and the key, both PEM.
    func run() async throws -> (chain: String, key: String) {
        let id = try SPIFFEID(id)
        let bundle = try TrustBundle(trustDomain: id.trustDomain, pem: TextFile.read(bundlePath))
        var problem = "there is none"
        let credentials = try NodeCredentials(directory: stateDirectory)
        guard let nodeSVID = credentials.load(log: { problem = $0 }) else {
            throw CommandFailure("no node certificate in \(stateDirectory): \(problem)")
        }
        let client = try AuthorityClient(
            address: authority, trustDomain: id.trustDomain, svid: nodeSVID, bundles: TrustBundleSet([bundle]))
        let podRequest = try IdentityRequest(uri: id.description)
        let chain = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.run() }
            defer { group.cancelAll() }
            return try await client.issue(podUID: podUID, identity: id, csr: podRequest.csr, urgency: .firstUse)
        }
        return (chain.map { $0.pem() }.joined(), try podRequest.key.serializeAsPEM().pemString + "\n")
    }
}
