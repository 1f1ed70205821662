import Authority
import FoundationEssentials
import GRPCCore
import MeshAPI
import SPIFFE

/// Lets workloads with certain SPIFFE IDs do over mTLS what the users of the admin socket may, and nobody else.
struct AdminAuthorization: ServerInterceptor {
    /// The workload whose call is being answered.
    @TaskLocal static var caller: AdminCaller?

    let admitted: Set<SPIFFEID>

    /// What it stands before.
    static let services: Set<ServiceDescriptor> = [
        Culvert_Authority_V1_AuthorityAdmin.descriptor, Culvert_Authority_V1_AuthorityOperator.descriptor,
        Culvert_Authority_V1_NodeAdmin.descriptor,
    ]

    func intercept<Input: Sendable, Output: Sendable>(
        request: StreamingServerRequest<Input>, context: ServerContext,
        next: @Sendable (StreamingServerRequest<Input>, ServerContext) async throws -> StreamingServerResponse<Output>
    ) async throws -> StreamingServerResponse<Output> {
        let caller = try AuthorityCaller(context, now: Date())
        guard admitted.contains(caller.id) else {
            throw RPCError(code: .permissionDenied, message: "\(caller.id) is no administrator of this authority")
        }
        return try await Self.$caller.withValue(AdminCaller(id: caller.id)) { try await next(request, context) }
    }

    /// A workload's of the trust domain: no node and no authority administers.
    static func id(_ text: String, of trustDomain: TrustDomain) throws(CommandFailure) -> SPIFFEID {
        let id: SPIFFEID
        do { id = try SPIFFEID(text) } catch { throw CommandFailure("--admin-id: \(error)") }
        guard id.trustDomain == trustDomain, !id.path.isEmpty, !ReservedIdentity.contains(id) else {
            throw CommandFailure(
                "--admin-id: \(id) is no workload of \(trustDomain)",
                hint: "name one such as spiffe://\(trustDomain)/ns/operations/sa/admin")
        }
        return id
    }
}
