import GRPCCore
public import SPIFFE

/// Why a call to the authority brought nothing.
public enum AuthorityCallError: Error, Hashable, Sendable, CustomStringConvertible {
    case denied(AuthorityDenial)
    /// No answer.
    case unreachable(String)
    /// Who answers is not the authority, as far as this node knows it: its certificate was refused.
    case unrecognised(String)
    /// An answer that must not be used.
    case invalidAnswer(String)

    public var description: String {
        switch self {
        case .denied(let denial): "the authority refuses: \(denial)"
        case .unreachable(let reason): "the authority is unreachable: \(reason)"
        case .unrecognised(let reason): "the authority is not recognised: \(reason)"
        case .invalidAnswer(let reason): "the authority's answer is not usable: \(reason)"
        }
    }

    /// Whether the node has to prove once more who it is.
    public var wantsAttestation: Bool {
        if case .denied(let denial) = self { denial.remedy == .attestAgain } else { false }
    }

    public var issuanceError: IssuanceError {
        switch self {
        case .denied(let denial): IssuanceError(Self.kind(of: denial), denial.message)
        case .unreachable(let reason), .unrecognised(let reason): IssuanceError(.unreachable, reason)
        case .invalidAnswer(let reason): IssuanceError(.denied, reason)
        }
    }

    /// A banned node asks for nothing but whether it still is.
    static let bannedPause = Duration.seconds(100)

    private static func kind(of denial: AuthorityDenial) -> IssuanceError.Kind {
        switch denial.remedy {
        case .retry: .retry(after: denial.retryAfter)
        case .slowDown: .slowDown(denial.retryAfter)
        case .attestAgain: .attestAgain
        case .stop where denial.reason == .podTerminated: .ended
        case .stop where denial.reason == .banned: .slowDown(bannedPause)
        case .stop: .denied
        }
    }

    /// `peerRefusal`: why the last handshake was refused, which gRPC's own error does not say.
    init(_ error: any Error, peerRefusal: String?) {
        if let error = error as? AuthorityCallError {
            self = error
        } else if let error = error as? RPCError {
            if let denial = AuthorityDenial(error) {
                self = .denied(denial)
            } else if let peerRefusal {
                self = .unrecognised(peerRefusal)
            } else {
                self = .unreachable("\(error.code): \(error.message.shortened(to: 1024))")
            }
        } else {
            self = peerRefusal.map { .unrecognised($0) } ?? .unreachable("\(error)")
        }
    }
}
