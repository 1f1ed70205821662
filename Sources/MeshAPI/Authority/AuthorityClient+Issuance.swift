import FoundationEssentials
import GRPCCore
public import SPIFFE
import Synchronization
public import X509

extension AuthorityClient: SVIDIssuer {
    public func issue(
        podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest, urgency: IssuanceUrgency
    ) async throws(IssuanceError) -> [Certificate] {
        do {
            let request = IssuanceRequest(podUID: podUID, identity: identity, csr: csr, urgency: urgency)
            let response = try await service.issueSVID(
                try Self.message(request), options: AuthorityConnection.callOptions)
            return try Self.chain(response, for: request)
        } catch {
            throw AuthorityCallError(error, peerRefusal: check.lastRefusal).issuanceError
        }
    }

    /// In one call; from an authority that does not know that, each in its own.
    public func issue(_ requests: [IssuanceRequest]) async -> [Result<[Certificate], IssuanceError>] {
        guard requests.count > 1, requests.count <= AuthorityTransport.requestsPerCallMax,
            !connection.withLock({ $0.asksSingly })
        else { return await issueEachByItself(requests) }
        do {
            var call = Culvert_Authority_V1_IssueSVIDsRequest()
            call.requests = try requests.map(Self.message)
            let response = try await service.issueSVIDs(call, options: AuthorityConnection.callOptions)
            guard response.outcomes.count == requests.count else {
                throw AuthorityCallError.invalidAnswer(
                    "it has \(response.outcomes.count) outcomes for \(requests.count) requests")
            }
            return zip(requests, response.outcomes).map(outcome)
        } catch let error as RPCError where error.code == .unimplemented {
            connection.withLock { $0.asksSingly = true }
            return await issueEachByItself(requests)
        } catch {
            let failure = AuthorityCallError(error, peerRefusal: check.lastRefusal).issuanceError
            return requests.map { _ in .failure(failure) }
        }
    }

    private func outcome(
        _ request: IssuanceRequest, _ outcome: Culvert_Authority_V1_IssueOutcome
    ) -> Result<[Certificate], IssuanceError> {
        do {
            switch outcome.outcome {
            case .svid(let svid): return .success(try Self.chain(svid, for: request))
            case .denial(let denial): throw AuthorityCallError.denied(AuthorityDenial(denial))
            case nil: throw AuthorityCallError.invalidAnswer("it says nothing of pod \(request.podUID)")
            }
        } catch {
            return .failure(AuthorityCallError(error, peerRefusal: nil).issuanceError)
        }
    }

    private static func message(_ request: IssuanceRequest) throws -> Culvert_Authority_V1_IssueSVIDRequest {
        var message = Culvert_Authority_V1_IssueSVIDRequest()
        message.podUid = request.podUID
        message.urgency = Culvert_Authority_V1_Urgency(request.urgency)
        message.csr = try AuthorityConnection.der(request.csr)
        return message
    }

    private static func chain(
        _ response: Culvert_Authority_V1_IssueSVIDResponse, for request: IssuanceRequest
    ) throws -> [Certificate] {
        let chain = try [Certificate](chain: response.certificateChain)
        // The authority decides; that it decided something else is for the operator to see, not to be used.
        guard try chain[0].spiffeID() == request.identity else {
            throw AuthorityCallError.invalidAnswer(
                "it names another identity than \(request.identity) for pod \(request.podUID)")
        }
        return chain
    }
}
