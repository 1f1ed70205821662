import Authority
import FoundationEssentials
import GRPCCore
import MeshAPI
import SPIFFE
import X509

/// The operator's calls. Who may open the socket is its owner; nobody else is asked who they are.
struct AuthorityAdminService: Culvert_Authority_V1_AuthorityAdmin.SimpleServiceProtocol {
    let authority: CertificateAuthority

    func createJoinToken(
        request: Culvert_Authority_V1_CreateJoinTokenRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_CreateJoinTokenResponse {
        do {
            let created = try await authority.createJoinToken(
                node: try NodeName(request.node), lifetime: .seconds(Int64(request.ttlSeconds)))
            var response = Culvert_Authority_V1_CreateJoinTokenResponse()
            response.token = created.token.text
            response.expiresAt = Int64(created.expiresAt.timeIntervalSince1970)
            return response
        } catch let error as NodeNameError {
            throw RPCError(code: .invalidArgument, message: "\(error)")
        } catch JoinTokenError.lifetime(let lifetime, let most) {
            throw RPCError(code: .invalidArgument, message: "\(JoinTokenError.lifetime(lifetime, most: most))")
        } catch {
            throw RPCError(code: .failedPrecondition, message: "\(error)")
        }
    }

    func status(
        request: Culvert_Authority_V1_StatusRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_StatusResponse {
        let status = authority.status()
        var response = Culvert_Authority_V1_StatusResponse()
        response.trustDomain = status.trustDomain.name
        response.bundleSequence = status.bundleSequence
        response.issued = status.signed
        response.denied = status.denied
        response.authorities = status.authorities.map { record in
            var message = Culvert_Authority_V1_AuthorityStatus()
            message.id = record.id.description
            message.subject = "\(record.certificate.subject)"
            message.state = record.state.rawValue
            message.kind = record.kind.rawValue
            message.notBefore = Int64(record.certificate.notValidBefore.timeIntervalSince1970)
            message.notAfter = Int64(record.certificate.notValidAfter.timeIntervalSince1970)
            return message
        }
        response.nodes = status.nodes.map { node in
            var message = Culvert_Authority_V1_NodeStatus()
            message.name = node.name.description
            message.id = node.id.description
            message.attestedAt = Int64(node.attestedAt.timeIntervalSince1970)
            message.expiresAt = Int64(node.expiresAt.timeIntervalSince1970)
            message.acknowledgedSequence = node.acknowledgement?.sequence ?? 0
            message.leaves = UInt32(clamping: node.acknowledgement?.leafCount ?? 0)
            return message
        }
        return response
    }
}
