extension Denial {
    /// One word for the reason, for counting: bounded, whatever peers send.
    public var label: String {
        switch self {
        case .tokenUnknown: return "token_unknown"
        case .tokenUsed: return "token_used"
        case .tokenExpired: return "token_expired"
        case .tokenRefused: return "token_refused"
        case .notAttested: return "not_attested"
        case .expired: return "expired"
        case .superseded: return "superseded"
        case .banned: return "banned"
        case .podUnknown: return "pod_unknown"
        case .podNotOnNode: return "pod_not_on_node"
        case .podTerminated: return "pod_terminated"
        case .podExcluded: return "pod_excluded"
        case .identityNotOnNode: return "identity_not_on_node"
        case .identityRefused: return "identity_refused"
        case .requestRefused: return "request_refused"
        case .rateLimited: return "rate_limited"
        case .tooManyIdentities: return "too_many_identities"
        case .notReady: return "not_ready"
        }
    }
}
