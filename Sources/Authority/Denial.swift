public import FoundationEssentials
public import SPIFFE

/// Why the authority said no, in the words that drive the caller: ask again, attest again, or stop.
public enum Denial: Error, Sendable, Equatable, CustomStringConvertible {
    case tokenUnknown
    case tokenUsed
    case tokenExpired
    /// A token of the platform's, which does not vouch for it.
    case tokenRefused(String)
    case notAttested(String)
    /// The node's SVID ran out longer ago than the authority renews it.
    case expired(NodeName, at: Date, grace: Duration)
    /// The node's SVID was replaced by one that is in use: it is a copy, or the copied one.
    case superseded(NodeName)
    case banned(NodeName)
    case podUnknown(uid: String)
    case podNotOnNode(uid: String, node: NodeName)
    case podTerminated(uid: String)
    /// It runs there, and is not enrolled (yet).
    case podExcluded(uid: String, String)
    /// The node asked for an identity by its name, and none of its live pods has it.
    case identityNotOnNode(SPIFFEID, node: NodeName)
    /// The pod's namespace and service account make no identity that may be issued.
    case identityRefused(String)
    case requestRefused(SigningRequestFlaw)
    case rateLimited(retryAfter: Duration)
    case tooManyIdentities(limit: Int, retryAfter: Duration)
    /// The authority cannot sign now; its operator has to do something, the caller has to wait.
    case notReady(String)

    /// What the caller can do about it.
    public enum Remedy: Sendable, Equatable {
        case retry(after: Duration)
        case attestAgain
        case stop
    }

    public var remedy: Remedy {
        switch self {
        case .tokenUnknown, .tokenUsed, .tokenExpired, .tokenRefused, .banned: return .stop
        case .notAttested, .expired, .superseded: return .attestAgain
        case .podUnknown, .podExcluded, .identityNotOnNode: return .retry(after: .milliseconds(500))
        case .podNotOnNode, .podTerminated, .identityRefused, .requestRefused: return .stop
        case .rateLimited(let after), .tooManyIdentities(_, let after): return .retry(after: after)
        case .notReady: return .retry(after: .seconds(5))
        }
    }

    public var description: String {
        switch self {
        case .tokenUnknown:
            return "the join token is not known here: make one with “culvert ca token create --node NAME”"
        case .tokenUsed:
            return "the join token has been used already: each attests one node once; make a new one"
        case .tokenExpired:
            return "the join token has expired: make a new one"
        case .tokenRefused(let reason):
            return reason
        case .notAttested(let caller):
            return "\(caller) is not an attested node: attest with a join token"
        case .expired(let node, let end, let grace):
            return
                "the SVID of node \(node) expired at \(end.iso8601), more than \(grace.inWords) ago: attest with a join token"
        case .superseded(let node):
            return "another holder of node \(node)'s identity uses a newer SVID: attest again"
        case .banned(let node):
            return "node \(node) is banned: “culvert node unban \(node)” lets it in again"
        case .podUnknown(let uid):
            return "no pod with UID \(uid.prefix(128)) is registered (yet)"
        case .podNotOnNode(let uid, let node):
            return "pod \(uid.prefix(128)) does not run on node \(node)"
        case .podTerminated(let uid):
            return "pod \(uid.prefix(128)) has terminated"
        case .podExcluded(let uid, let reason):
            return "pod \(uid.prefix(128)) is not enrolled: \(reason)"
        case .identityNotOnNode(let id, let node):
            return "no live pod of node \(node) is \(id) (yet)"
        case .identityRefused(let reason):
            return reason
        case .requestRefused(let flaw):
            return "signing request refused: \(flaw)"
        case .rateLimited(let after):
            return "too many requests: ask again in \(after)"
        case .tooManyIdentities(let limit, _):
            return "the node holds \(limit) different identities already, which is its limit"
        case .notReady(let reason):
            return "the authority cannot sign now: \(reason)"
        }
    }
}
