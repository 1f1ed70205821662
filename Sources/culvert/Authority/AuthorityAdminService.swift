import Authority
import FoundationEssentials
import GRPCCore
import MeshAPI
import SPIFFE

/// The operator's calls. The socket's server admits the authority's own user and root; which of them it was is in the audit log.
struct AuthorityAdminService: Culvert_Authority_V1_AuthorityAdmin.SimpleServiceProtocol {
    let authority: CertificateAuthority
    var federated: @Sendable () -> [Federation.Status] = { [] }

    func createJoinToken(
        request: Culvert_Authority_V1_CreateJoinTokenRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_CreateJoinTokenResponse {
        do {
            let created = try await authority.createJoinToken(
                node: try NodeName(request.node), lifetime: .seconds(Int64(request.ttlSeconds)),
                by: try AdminCaller.current)
            var response = Culvert_Authority_V1_CreateJoinTokenResponse()
            response.token = created.token.text
            response.expiresAt = created.expiresAt.wire
            return response
        } catch let error as RPCError {
            throw error
        } catch let error as NodeNameError {
            throw RPCError(code: .invalidArgument, message: "\(error)")
        } catch JoinTokenError.lifetime(let lifetime, let most) {
            throw RPCError(code: .invalidArgument, message: "\(JoinTokenError.lifetime(lifetime, most: most))")
        } catch {
            throw RPCError(code: .failedPrecondition, message: "\(error)")
        }
    }

    /// How much of the history a status has.
    private static let historyMax = 200

    func rotate(
        request: Culvert_Authority_V1_RotateRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_RotateResponse {
        do {
            let answer = try await authority.rotate(try RotationCommand(request), by: try AdminCaller.current)
            var response = Culvert_Authority_V1_RotateResponse()
            response.steps = answer.taken.map(Culvert_Authority_V1_RotationStep.init)
            if let refusal = answer.refusal { response.refusal = Culvert_Authority_V1_RotationWait(refusal) }
            return response
        } catch let error as RPCError {
            throw error
        } catch let refusal as RotationRefusal {
            throw RPCError(code: .invalidArgument, message: "\(refusal)")
        } catch {
            throw RPCError(code: .failedPrecondition, message: "\(error)")
        }
    }

    func status(
        request: Culvert_Authority_V1_StatusRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_StatusResponse {
        do {
            let history = try await authority.rotationHistory(limit: Self.historyMax)
            var response = Culvert_Authority_V1_StatusResponse(authority.status(), history: history, now: Date())
            response.federated = federated().map(Culvert_Authority_V1_FederatedDomain.init)
            return response
        } catch {
            throw RPCError(code: .failedPrecondition, message: "\(error)")
        }
    }
}

extension AdminCaller {
    /// Who makes the call that is being answered.
    static var current: AdminCaller {
        get throws {
            if let workload = AdminAuthorization.caller { return workload }
            guard let peer = LocalPeer.current else {
                throw RPCError(code: .permissionDenied, message: "it is not known who calls")
            }
            return AdminCaller(uid: peer.uid, pid: peer.pid)
        }
    }
}
