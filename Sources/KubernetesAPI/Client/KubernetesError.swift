/// Why a request to the API server brought nothing.
public enum KubernetesError: Error, Equatable, CustomStringConvertible {
    /// It answered with an error.
    case refused(Refusal)
    /// No connection, or a broken one.
    case unreachable(String)
    /// No answer in time.
    case timedOut
    /// An answer that cannot be used: not JSON, too large.
    case unusable(String)
    /// Our own credentials cannot be read.
    case credentials(ClusterConfigurationError)

    /// A `Status` of the server, or what an HTTP status without one says.
    public struct Refusal: Sendable, Equatable {
        /// The reasons that somebody acts on (`metav1.StatusReason`).
        public enum Reason: Sendable, Equatable {
            case badRequest
            case unauthorized
            case forbidden
            case notFound
            case alreadyExists
            /// Somebody else has written the object in between.
            case conflict
            /// The resource version or continue token is too old: list again.
            case expired
            case invalid
            case tooManyRequests
            case unavailable
            case other(String)
        }

        public let code: Int
        public let reason: Reason
        public let message: String
        /// How long the server wants to be left alone.
        public let retryAfter: Duration?

        public init(code: Int, reason: Reason, message: String, retryAfter: Duration? = nil) {
            self.code = code
            self.reason = reason
            self.message = message
            self.retryAfter = retryAfter
        }

        /// From the body of an answer, or the object of an `ERROR` event. The status word wins over the number, since 409 and 410 stand
        /// for several.
        init(_ status: Status, code httpCode: Int? = nil, retryAfter: Duration? = nil) {
            code = httpCode ?? status.code
            message = ([status.message] + status.causes).filter { !$0.isEmpty }.joined(separator: "; ")
            self.retryAfter = retryAfter ?? status.retryAfterSeconds.map { .seconds($0) }
            reason = Self.reason(status.reason) ?? Self.reason(code, status.reason)
        }

        private static func reason(_ word: String) -> Reason? {
            switch word {
            case "BadRequest": .badRequest
            case "Unauthorized": .unauthorized
            case "Forbidden": .forbidden
            case "NotFound": .notFound
            case "AlreadyExists": .alreadyExists
            case "Conflict": .conflict
            case "Expired", "Gone": .expired
            case "Invalid": .invalid
            case "TooManyRequests": .tooManyRequests
            case "ServiceUnavailable", "ServerTimeout", "InternalError", "Timeout": .unavailable
            default: nil
            }
        }

        private static func reason(_ code: Int, _ word: String) -> Reason {
            switch code {
            case 400: .badRequest
            case 401: .unauthorized
            case 403: .forbidden
            case 404: .notFound
            case 409: .conflict
            case 410: .expired
            case 422: .invalid
            case 429: .tooManyRequests
            case 500...: .unavailable
            default: .other(word)
            }
        }
    }

    /// The server's reason; nil where there was no answer.
    public var reason: Refusal.Reason? {
        guard case .refused(let refusal) = self else { return nil }
        return refusal.reason
    }

    public var description: String {
        switch self {
        case .refused(let refusal):
            "the API server answered \(refusal.code)" + (refusal.message.isEmpty ? "" : ": \(refusal.message)")
        case .unreachable(let reason): "the API server cannot be reached: \(reason)"
        case .timedOut: "the API server did not answer in time"
        case .unusable(let reason): "the API server's answer cannot be used: \(reason)"
        case .credentials(let error): "\(error)"
        }
    }
}
