import Authority
import FoundationEssentials
import GRPCCore
import MeshAPI

/// The operator's calls about nodes, on the admin socket.
struct NodeAdminService: Culvert_Authority_V1_NodeAdmin.SimpleServiceProtocol {
    static let signaturesShown = 20

    let authority: CertificateAuthority

    func listNodes(
        request: Culvert_Authority_V1_ListNodesRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_ListNodesResponse {
        let following = authority.bundle.followers
        var response = Culvert_Authority_V1_ListNodesResponse()
        response.trustDomain = authority.trustDomain.name
        response.bundleSequence = authority.bundle.current.sequence
        response.nodes = authority.nodes.map {
            Culvert_Authority_V1_Node($0, isConnected: following.contains($0.name))
        }
        return response
    }

    func showNode(
        request: Culvert_Authority_V1_ShowNodeRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_ShowNodeResponse {
        let name = try Self.name(request.name)
        guard let node = authority.nodes.first(where: { $0.name == name }) else {
            throw RPCError(code: .notFound, message: "\(NodeAdminError.unknown(name))")
        }
        var response = Culvert_Authority_V1_ShowNodeResponse()
        response.node = Culvert_Authority_V1_Node(
            node, isConnected: authority.bundle.followers.contains(name))
        response.bundleSequence = authority.bundle.current.sequence
        do {
            response.signatures = try await authority.signatures(for: name, limit: Self.signaturesShown)
                .map(Culvert_Authority_V1_Signature.init)
        } catch {
            throw RPCError(code: .failedPrecondition, message: "\(error)")
        }
        return response
    }

    func banNode(
        request: Culvert_Authority_V1_NodeActRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_NodeActResponse {
        try await act(request, authority.ban)
    }

    func unbanNode(
        request: Culvert_Authority_V1_NodeActRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_NodeActResponse {
        try await act(request, authority.unban)
    }

    func evictNode(
        request: Culvert_Authority_V1_NodeActRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_NodeActResponse {
        try await act(request, authority.evict)
    }

    private func act(
        _ request: Culvert_Authority_V1_NodeActRequest,
        _ body: (NodeName, String, AdminCaller) async throws(NodeAdminError) -> Void
    ) async throws -> Culvert_Authority_V1_NodeActResponse {
        let (name, caller) = (try Self.name(request.name), try AdminCaller.current)
        let reason: ActReason
        do { reason = try ActReason(request.reason) } catch {
            throw RPCError(code: .invalidArgument, message: "\(error)")
        }
        do throws(NodeAdminError) {
            try await body(name, reason.text, caller)
        } catch {
            switch error {
            case .unknown: throw RPCError(code: .notFound, message: "\(error)")
            case .store: throw RPCError(code: .failedPrecondition, message: "\(error)")
            }
        }
        return Culvert_Authority_V1_NodeActResponse()
    }

    private static func name(_ text: String) throws -> NodeName {
        do { return try NodeName(text) } catch { throw RPCError(code: .invalidArgument, message: "\(error)") }
    }
}

extension Culvert_Authority_V1_Node {
    init(_ node: NodeRecord, isConnected: Bool) {
        self.init()
        name = node.name.description
        spiffeID = node.id.description
        attestedAt = node.attestedAt.wire
        serial = node.serial
        nextSerial = node.nextSerial ?? ""
        expiresAt = node.expiresAt.wire
        if let ban = node.ban {
            self.ban.at = ban.at.wire
            self.ban.reason = ban.reason
        }
        cloneSeenAt = node.cloneSeenAt?.wire ?? 0
        connected = isConnected
        guard let said = node.acknowledgement else { return }
        report.at = said.at.wire
        report.sequence = said.sequence
        report.version = said.version
        report.leaves = said.leaves.map { leaves in
            var message = Culvert_Authority_V1_NodeLeaves()
            message.authorityID = leaves.authority
            message.count = leaves.count
            message.oldestExpiry = leaves.oldestExpiry
            return message
        }
    }
}

extension Culvert_Authority_V1_Signature {
    init(_ record: IssuanceRecord) {
        self.init()
        serial = record.serial
        spiffeID = record.id.description
        podUid = record.podUID ?? ""
        issuedAt = record.issuedAt.wire
        notAfter = record.notAfter.wire
        authorityID = record.authority.description
    }
}
