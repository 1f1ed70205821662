public import X509

/// Where SVIDs come from: a certificate authority, near or far.
public protocol SVIDIssuer: Sendable {
    /// The certificates for the request's key, leaf first, root left out. Of the request only the public key counts.
    func issue(
        podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest, urgency: IssuanceUrgency
    ) async throws(IssuanceError) -> [Certificate]

    /// Several that are wanted at the same time, with an outcome for each in their order.
    func issue(_ requests: [IssuanceRequest]) async -> [Result<[Certificate], IssuanceError>]
}

/// What is asked for one identity.
public struct IssuanceRequest: Sendable {
    public let podUID: String
    public let identity: SPIFFEID
    public let csr: CertificateSigningRequest
    public let urgency: IssuanceUrgency

    public init(podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest, urgency: IssuanceUrgency) {
        self.podUID = podUID
        self.identity = identity
        self.csr = csr
        self.urgency = urgency
    }
}

extension SVIDIssuer {
    public func issue(_ requests: [IssuanceRequest]) async -> [Result<[Certificate], IssuanceError>] {
        await issueEachByItself(requests)
    }

    /// All at once.
    public func issueEachByItself(_ requests: [IssuanceRequest]) async -> [Result<[Certificate], IssuanceError>] {
        await withTaskGroup(of: (Int, Result<[Certificate], IssuanceError>).self) { group in
            for (index, request) in requests.enumerated() {
                group.addTask { (index, await outcome(of: request)) }
            }
            var outcomes: [Int: Result<[Certificate], IssuanceError>] = [:]
            for await (index, outcome) in group { outcomes[index] = outcome }
            return requests.indices.compactMap { outcomes[$0] }
        }
    }

    private func outcome(of request: IssuanceRequest) async -> Result<[Certificate], IssuanceError> {
        do throws(IssuanceError) {
            return .success(
                try await issue(
                    podUID: request.podUID, identity: request.identity, csr: request.csr, urgency: request.urgency))
        } catch {
            return .failure(error)
        }
    }
}

/// Who goes first when not everybody can be served at once.
public enum IssuanceUrgency: Int, Hashable, Sendable, Comparable, CaseIterable {
    /// Nothing waits for it: it was asked for ahead of its time.
    case background
    /// What is held is still good.
    case renewal
    /// Connections wait for it.
    case firstUse

    public static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
}

/// Why no SVID was issued, and whether asking again helps.
public struct IssuanceError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Hashable, Sendable {
        /// The authority decided against it; do not ask again soon.
        case denied
        /// The pod is over: do not ask in its name again.
        case ended
        /// Ask again for this, not before this long; `nil`: by one's own back-off.
        case retry(after: Duration?)
        /// Ask for nothing before this long: the authority has more to do than it can.
        case slowDown(Duration?)
        /// The node itself has to attest again first.
        case attestAgain
        /// The authority did not answer.
        case unreachable
    }

    public let kind: Kind
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String {
        switch kind {
        case .denied, .ended, .attestAgain: "the authority refuses: \(message)"
        case .retry, .slowDown: "the authority cannot issue now: \(message)"
        case .unreachable: "the authority is unreachable: \(message)"
        }
    }
}
