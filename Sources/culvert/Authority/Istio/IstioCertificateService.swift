import Authority
import GRPCCore
import MeshAPI
import SPIFFE

/// Istio's CreateCertificate: whoever speaks it, a ztunnel for one, takes the identities of its node's pods from this authority.
///
/// The same rules hold as for our own service: a node, live pods of its own, the key alone from the request.
struct IstioCertificateService: Istio_V1_Auth_IstioCertificateService.ServiceProtocol {
    let authority: CertificateAuthority
    let authenticator: any NodeAuthenticator

    func createCertificate(
        request: ServerRequest<Istio_V1_Auth_IstioCertificateRequest>, context: ServerContext
    ) async throws -> ServerResponse<Istio_V1_Auth_IstioCertificateResponse> {
        let caller = try await authenticator.caller(request.metadata, context)
        let asked = try IstioCertificateRequest(request.message)
        do throws(Denial) {
            let svid = try await authority.issue(
                identity: asked.identity, csr: asked.csr, lifetime: asked.lifetime, caller: caller)
            let answer = IstioCertificateAnswer(
                certificates: svid.certificates, roots: authority.bundle.current.authorities)
            return ServerResponse(message: answer.message)
        } catch {
            throw AuthorityDenial(error)
        }
    }
}
