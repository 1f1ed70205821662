internal import FoundationEssentials
public import SPIFFE

/// An SVID that a node asks for, for one of its pods.
public struct PodRequest: Sendable {
    public let podUID: String
    /// PKCS#10.
    public let csr: [UInt8]
    public let urgency: IssuanceUrgency

    public init(podUID: String, csr: [UInt8], urgency: IssuanceUrgency) {
        self.podUID = podUID
        self.csr = csr
        self.urgency = urgency
    }

    var subject: String { "pod \(podUID.prefix(128))" }
}

extension CertificateAuthority {
    /// So many are signed in one turn, which takes a few milliseconds: nobody waits noticeably longer for it.
    static let turnMax = 16

    /// `issue` for each of them, with an outcome for each in their order; the most urgent ones are signed first.
    ///
    /// Those that are signed in one turn are recorded in one transaction. Each counts towards the node's allowance.
    public func issue(_ requests: [PodRequest], caller: NodeCaller) async -> [Result<IssuedSVID, Denial>] {
        guard !requests.isEmpty else { return [] }
        let now = clock()
        let node: NodeName
        do throws(Denial) {
            node = try await attestedNode(caller, at: now, draining: .allowed)
        } catch {
            return requests.map { .failure(denied(error, caller: caller.description, subject: $0.subject)) }
        }
        var outcomes = [Result<IssuedSVID, Denial>](
            repeating: .failure(.notReady("not asked for")), count: requests.count)
        var rest = requests.indices.sorted { (requests[$1].urgency, $0) < (requests[$0].urgency, $1) }[...]
        // The first one has been paid for with the look at the node.
        var owed = 0
        while let first = rest.first {
            let urgency = requests[first].urgency
            let turn = rest.prefix(Self.turnMax).prefix { requests[$0].urgency == urgency }
            rest.removeFirst(turn.count)
            var admitted: [Int] = []
            for index in turn {
                do throws(Denial) {
                    if owed > 0 { try take(from: node, at: now) }
                    owed += 1
                    admitted.append(index)
                } catch {
                    outcomes[index] = .failure(error)
                }
            }
            let batch = admitted.map { requests[$0] }
            for (index, outcome) in zip(admitted, await issueTogether(batch, urgency, on: node, at: now)) {
                outcomes[index] = outcome
            }
        }
        return zip(requests, outcomes).map { request, outcome in
            outcome.mapError { denied($0, caller: caller.description, subject: request.subject) }
        }
    }

    private func issueTogether(
        _ batch: [PodRequest], _ urgency: IssuanceUrgency, on node: NodeName, at now: Date
    ) async -> [Result<IssuedSVID, Denial>] {
        guard !batch.isEmpty else { return [] }
        var outcomes: [Result<IssuedSVID, Denial>]
        do throws(Denial) {
            outcomes = try await gate.signing(urgency) { () throws(Denial) in
                batch.map { request in
                    Result { () throws(Denial) in try sign(request, on: node, at: now) }
                }
            }
        } catch {
            return batch.map { _ in .failure(error) }
        }
        let signed = outcomes.compactMap { try? $0.get() }
        guard !signed.isEmpty else { return outcomes }
        switch await failure(toRecord: signed) {
        case nil:
            for svid in signed { released(svid, wanted: now) }
        case .superseded, .other:
            // Signed by an authority that has been replaced since, or one that the store does not take must not cost the others.
            for index in outcomes.indices {
                guard case .success = outcomes[index] else { continue }
                outcomes[index] = await outcome(ofIssuingAlone: batch[index], on: node, at: now)
            }
        case .some(let error):
            outcomes = outcomes.map { outcome in outcome.flatMap { _ in .failure(.notReady("\(error)")) } }
        }
        return outcomes
    }

    private func failure(toRecord signed: [IssuedSVID]) async -> StoreError? {
        do throws(StoreError) {
            try await issuanceLog.record(signed.map(\.record))
            return nil
        } catch {
            state.withLock { $0.counters.storeErrors += error == .superseded ? 0 : 1 }
            return error
        }
    }

    private func outcome(
        ofIssuingAlone request: PodRequest, on node: NodeName, at now: Date
    ) async -> Result<IssuedSVID, Denial> {
        do throws(Denial) {
            return .success(try await issueAlone(request, on: node, at: now))
        } catch {
            return .failure(error)
        }
    }
}
