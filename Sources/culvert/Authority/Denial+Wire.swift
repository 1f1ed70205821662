import Authority
import MeshAPI

extension AuthorityDenial {
    /// The authority's own word for it, as it travels.
    init(_ denial: Denial) {
        var retryAfter: Duration?
        if case .retry(let after) = denial.remedy { retryAfter = after }
        self.init(Self.reason(of: denial), denial.description, retryAfter: retryAfter)
    }

    private static func reason(of denial: Denial) -> Reason {
        switch denial {
        case .tokenUnknown, .tokenRefused: .tokenUnknown
        case .tokenUsed: .tokenUsed
        case .tokenExpired: .tokenExpired
        case .notAttested: .notAttested
        case .expired: .expired
        case .superseded: .superseded
        case .banned: .banned
        case .podUnknown, .podExcluded, .identityNotOnNode: .podUnknown
        case .podNotOnNode: .podNotOnNode
        case .podTerminated: .podTerminated
        case .identityRefused, .requestRefused: .invalidRequest
        case .rateLimited: .rateLimited
        case .tooManyIdentities: .tooManyIdentities
        case .notReady: .caNotReady
        }
    }
}
