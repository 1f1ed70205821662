public import GRPCCore

/// A refusal of the authority's, the same on both ends of the call.
///
/// It travels as a gRPC status with the text, and two trailers: `culvert-denial`, the reason's number, and
/// `culvert-retry-after-ms`.
public struct AuthorityDenial: Error, Hashable, Sendable, CustomStringConvertible {
    public typealias Reason = Culvert_Authority_V1_DenialReason

    public let reason: Reason
    /// For the operator.
    public let message: String
    /// When asking again may help; nil: the caller decides by the reason.
    public let retryAfter: Duration?

    private static let reasonKey = "culvert-denial"
    private static let retryAfterKey = "culvert-retry-after-ms"
    private static let longestRetry = Duration.seconds(3600)

    public init(_ reason: Reason, _ message: String, retryAfter: Duration? = nil) {
        self.reason = reason
        self.message = message
        self.retryAfter = retryAfter
    }

    /// Nil when the error is not a refusal of the authority's but, for example, a lost connection.
    public init?(_ error: RPCError) {
        guard
            let number = error.metadata[stringValues: Self.reasonKey].first(where: { _ in true }).flatMap({ Int($0) }),
            let reason = Reason(rawValue: number)
        else { return nil }
        self.reason = reason
        message = error.message.shortened(to: 1024)
        let text = error.metadata[stringValues: Self.retryAfterKey].first { _ in true }
        retryAfter = text.flatMap { Int64($0) }.flatMap(Self.retry)
    }

    /// As it stands beside other outcomes of the same call.
    init(_ denial: Culvert_Authority_V1_IssueDenial) {
        reason = denial.reason
        message = denial.message.shortened(to: 1024)
        retryAfter = denial.retryAfterMs == 0 ? nil : Self.retry(after: denial.retryAfterMs)
    }

    private static func retry(after milliseconds: Int64) -> Duration? {
        milliseconds < 0 ? nil : min(.milliseconds(milliseconds), longestRetry)
    }

    fileprivate var retryMilliseconds: Int64? {
        guard let (seconds, attoseconds) = retryAfter?.components else { return nil }
        // Rounded up: coming back a moment early would be refused again.
        return seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
    }

    public var description: String { message }
}

extension AuthorityDenial: RPCErrorConvertible {
    public var rpcErrorCode: RPCError.Code {
        switch reason {
        case .notAttested, .expired, .superseded: .unauthenticated
        case .banned, .podNotOnNode: .permissionDenied
        case .podUnknown, .tokenUnknown: .notFound
        case .podTerminated, .tokenUsed, .tokenExpired: .failedPrecondition
        case .caNotReady: .unavailable
        case .rateLimited, .tooManyIdentities: .resourceExhausted
        case .invalidRequest: .invalidArgument
        case .unspecified, .UNRECOGNIZED: .unknown
        }
    }

    public var rpcErrorMessage: String { message }

    public var rpcErrorMetadata: Metadata {
        var metadata: Metadata = [Self.reasonKey: "\(reason.rawValue)"]
        if let milliseconds = retryMilliseconds { metadata.addString("\(milliseconds)", forKey: Self.retryAfterKey) }
        return metadata
    }
}

extension Culvert_Authority_V1_IssueDenial {
    public init(_ denial: AuthorityDenial) {
        self.init()
        reason = denial.reason
        message = denial.message
        retryAfterMs = denial.retryMilliseconds ?? 0
    }
}

extension AuthorityDenial {
    /// What the one who was refused can do about it.
    public enum Remedy: Hashable, Sendable {
        /// Ask again for this.
        case retry
        /// Ask for nothing at all until then.
        case slowDown
        /// Prove who the node is once more.
        case attestAgain
        /// Nothing: this is decided.
        case stop
    }

    public var remedy: Remedy {
        switch reason {
        case .podUnknown, .tooManyIdentities: .retry
        case .caNotReady, .rateLimited: .slowDown
        case .notAttested, .expired, .superseded: .attestAgain
        default: .stop
        }
    }
}
