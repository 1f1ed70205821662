import Authority
import FoundationEssentials
import GRPCCore
import MeshAPI
import SPIFFE

/// What the operator asks for beside the state. As with `AuthorityAdminService`, the socket's server decides who may.
struct AuthorityOperatorService: Culvert_Authority_V1_AuthorityOperator.SimpleServiceProtocol {
    let authority: CertificateAuthority
    let examiner: AuthorityExaminer

    func examine(
        request: Culvert_Authority_V1_ExamineRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_ExamineResponse {
        let facts = await examiner.facts()
        var response = Culvert_Authority_V1_ExamineResponse()
        response.trustDomain = authority.trustDomain.name
        response.examinedAt = facts.now.wire
        response.findings = AuthorityExamination(facts).findings.map { finding in
            var message = Culvert_Authority_V1_Finding()
            message.check = finding.check
            message.verdict = Culvert_Authority_V1_Verdict(finding.verdict)
            message.detail = finding.detail
            message.remedy = finding.remedy
            return message
        }
        return response
    }

    func getBundle(
        request: Culvert_Authority_V1_GetBundleRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_GetBundleResponse {
        var response = Culvert_Authority_V1_GetBundleResponse()
        response.bundle = Culvert_Authority_V1_Bundle(authority.bundle.current)
        return response
    }

    func mint(
        request: Culvert_Authority_V1_MintRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_MintResponse {
        let reason: ActReason
        let id: SPIFFEID
        do { reason = try ActReason(request.reason) } catch {
            throw RPCError(code: .invalidArgument, message: "\(error)")
        }
        do { id = try SPIFFEID(request.spiffeID) } catch { throw RPCError(code: .invalidArgument, message: "\(error)") }
        let caller = try AdminCaller.current
        let minted: MintedSVID
        do throws(Denial) {
            minted = try await authority.mint(
                id, csr: [UInt8](request.csr),
                lifetime: request.ttlSeconds == 0 ? nil : .seconds(Int64(request.ttlSeconds)), reason: reason.text,
                by: caller)
        } catch {
            switch error {
            case .identityRefused, .requestRefused: throw RPCError(code: .invalidArgument, message: "\(error)")
            default: throw RPCError(code: .failedPrecondition, message: "\(error)")
            }
        }
        var response = Culvert_Authority_V1_MintResponse()
        response.certificateChain = minted.svid.chain.map { Data($0) }
        response.serial = minted.svid.record.serial
        response.notAfter = minted.svid.notAfter.wire
        response.clampedFrom = minted.clampedFrom?.wire ?? 0
        return response
    }
}

/// Why an operator does something: one line, which goes into the audit log.
struct ActReason: Equatable {
    static let bytesMax = 256

    let text: String

    init(_ text: String) throws(CommandFailure) {
        guard text.contains(where: { !$0.isWhitespace }) else { throw CommandFailure("the reason is empty") }
        guard text.utf8.count <= Self.bytesMax else {
            throw CommandFailure("the reason has \(text.utf8.count) bytes; at most \(Self.bytesMax) are kept")
        }
        guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f }) else {
            throw CommandFailure("the reason is not one line of text")
        }
        self.text = text
    }
}
