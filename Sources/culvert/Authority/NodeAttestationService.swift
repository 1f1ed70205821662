import Authority
import FoundationEssentials
import GRPCCore
import MeshAPI
import SPIFFE

/// The one call that a node without an SVID can make.
struct NodeAttestationService: Culvert_Authority_V1_NodeAttestation.SimpleServiceProtocol {
    let authority: CertificateAuthority

    func attestNode(
        request: Culvert_Authority_V1_AttestNodeRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_AttestNodeResponse {
        do throws(Denial) {
            let svid = try await authority.attestNode(
                token: request.joinToken, csr: [UInt8](request.csr), source: Self.host(of: context.remotePeer))
            var response = Culvert_Authority_V1_AttestNodeResponse()
            response.certificateChain = svid.chain.map { Data($0) }
            response.bundle = Culvert_Authority_V1_Bundle(authority.bundle.current)
            return response
        } catch {
            throw AuthorityDenial(error)
        }
    }

    /// `ipv4:10.0.0.1:4711` without the port: a caller has many ports, and is limited by its address.
    static func host(of peer: String) -> String {
        guard let colon = peer.lastIndex(of: ":") else { return peer }
        return String(peer[..<colon])
    }
}
