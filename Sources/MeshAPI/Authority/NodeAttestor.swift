import GRPCCore
import GRPCNIOTransportHTTP2Posix
public import IPAddressing
public import SPIFFE
public import X509

/// A node's first call: a token for an SVID. The node verifies the authority; itself it has nothing to show yet.
public struct NodeAttestor: Sendable {
    /// What a node starts out with.
    public struct Attestation: Sendable {
        /// Leaf first.
        public let certificates: [Certificate]
        public let bundle: TrustBundle
    }

    private let address: IPAddressing.SocketAddress
    private let bundle: TrustBundle

    /// `bundle` came to the node by a trusted way, such as a file, and is that of the authority's trust domain.
    public init(address: IPAddressing.SocketAddress, bundle: TrustBundle) {
        self.address = address
        self.bundle = bundle
    }

    /// Makes one connection for one call. A join token is used up when the authority has answered.
    public func attest(
        token: String, csr: CertificateSigningRequest
    ) async throws(AuthorityCallError) -> Attestation {
        var request = Culvert_Authority_V1_AttestNodeRequest()
        request.joinToken = token
        request.csr = try AuthorityConnection.der(csr)
        var refusal: PeerCheck?
        do {
            let verifier = ReplaceableVerifier(TrustBundleSet([bundle]))
            let check = try AuthorityConnection.check(bundle.trustDomain, verifier)
            refusal = check
            let transport = try AuthorityConnection.transport(
                to: address, .tls { AuthorityConnection.configure(&$0, check) })
            let response = try await withGRPCClient(transport: transport) { [request] client in
                let service = Culvert_Authority_V1_NodeAttestation.Client(wrapping: client)
                return try await service.attestNode(request, options: AuthorityConnection.callOptions)
            }
            return Attestation(
                certificates: try [Certificate](chain: response.certificateChain),
                bundle: try TrustBundle(response.bundle, of: bundle.trustDomain))
        } catch {
            throw AuthorityCallError(error, peerRefusal: refusal?.lastRefusal)
        }
    }
}
