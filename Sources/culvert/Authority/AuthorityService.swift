import Authority
import FoundationEssentials
import GRPCCore
import MeshAPI
import SPIFFE

/// What attested nodes can ask for. The transport has verified their SVIDs; who they are is taken from there and nowhere else.
struct AuthorityService: Culvert_Authority_V1_Authority.SimpleServiceProtocol {
    let authority: CertificateAuthority

    func renewNode(
        request: Culvert_Authority_V1_RenewNodeRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_RenewNodeResponse {
        let caller = try AuthorityCaller(evenExpired: context, now: Date())
        do throws(Denial) {
            let svid = try await renewed([UInt8](request.csr), caller)
            var response = Culvert_Authority_V1_RenewNodeResponse()
            response.certificateChain = svid.chain.map { Data($0) }
            return response
        } catch {
            throw AuthorityDenial(error)
        }
    }

    private func renewed(_ csr: [UInt8], _ caller: AuthorityCaller) async throws(Denial) -> IssuedSVID {
        let node = NodeCaller(caller)
        guard let end = caller.expiredAt else { return try await authority.renewNode(csr: csr, caller: node) }
        return try await authority.renewExpiredNode(csr: csr, caller: node, expiredAt: end)
    }

    func issueSVID(
        request: Culvert_Authority_V1_IssueSVIDRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_IssueSVIDResponse {
        let caller = try AuthorityCaller(context, now: Date())
        do throws(Denial) {
            let svid = try await authority.issue(
                podUID: request.podUid, csr: [UInt8](request.csr), caller: NodeCaller(caller),
                urgency: IssuanceUrgency(request.urgency))
            return Culvert_Authority_V1_IssueSVIDResponse(svid)
        } catch {
            throw AuthorityDenial(error)
        }
    }

    func issueSVIDs(
        request: Culvert_Authority_V1_IssueSVIDsRequest, context: ServerContext
    ) async throws -> Culvert_Authority_V1_IssueSVIDsResponse {
        let caller = try AuthorityCaller(context, now: Date())
        let most = AuthorityTransport.requestsPerCallMax
        guard request.requests.count <= most else {
            throw AuthorityDenial(.invalidRequest, "at most \(most) SVIDs are asked for in one call")
        }
        let outcomes = await authority.issue(
            request.requests.map { request in
                PodRequest(
                    podUID: request.podUid, csr: [UInt8](request.csr), urgency: IssuanceUrgency(request.urgency))
            }, caller: NodeCaller(caller))
        var response = Culvert_Authority_V1_IssueSVIDsResponse()
        response.outcomes = outcomes.map { outcome in
            var answer = Culvert_Authority_V1_IssueOutcome()
            switch outcome {
            case .success(let svid): answer.svid = Culvert_Authority_V1_IssueSVIDResponse(svid)
            case .failure(let denial): answer.denial = Culvert_Authority_V1_IssueDenial(AuthorityDenial(denial))
            }
            return answer
        }
        return response
    }

    /// Ends when either side does, or with the authority.
    func streamBundle(
        request: RPCAsyncSequence<Culvert_Authority_V1_BundleAcknowledgement, any Error>,
        response: RPCWriter<Culvert_Authority_V1_BundleUpdate>,
        context: ServerContext
    ) async throws {
        let caller = NodeCaller(try AuthorityCaller(context, now: Date()))
        let updates: AsyncStream<TrustBundle>
        do throws(Denial) {
            updates = try await authority.bundleUpdates(for: caller)
        } catch {
            throw AuthorityDenial(error)
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for await bundle in updates {
                    var update = Culvert_Authority_V1_BundleUpdate()
                    update.bundle = Culvert_Authority_V1_Bundle(bundle)
                    update.taintedAuthorities = authority.bundle.tainted.map(\.description)
                    update.federated = authority.bundle.federated.bundles.values.map(Culvert_Authority_V1_Bundle.init)
                    try await response.write(update)
                }
                do throws(Denial) { try authority.checkStanding(of: caller) } catch { throw AuthorityDenial(error) }
            }
            group.addTask {
                for try await message in request { try await record(BundleReport(message), of: caller) }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func record(_ report: BundleReport, of caller: NodeCaller) async throws(AuthorityDenial) {
        // Sequence 0 says that the node holds no bundle yet.
        guard report.sequence > 0 else { return }
        let leaves = report.leaves.compactMap { leaves -> NodeAcknowledgement.Leaves? in
            guard let id = AuthorityID(leaves.authorityID) else { return nil }
            return NodeAcknowledgement.Leaves(
                authority: id, count: UInt32(clamping: leaves.count),
                oldestExpiry: leaves.oldestExpiry?.wire ?? 0,
                connections: UInt32(clamping: leaves.connections))
        }
        do throws(Denial) {
            try await authority.acknowledge(
                sequence: report.sequence, version: report.version, leaves: leaves, caller: caller)
        } catch {
            throw AuthorityDenial(error)
        }
    }
}

extension Culvert_Authority_V1_IssueSVIDResponse {
    init(_ svid: IssuedSVID) {
        self.init()
        certificateChain = svid.chain.map { Data($0) }
        spiffeID = svid.id.description
    }
}

extension NodeCaller {
    init(_ caller: AuthorityCaller) { self.init(id: caller.id, serial: caller.serial) }
}
