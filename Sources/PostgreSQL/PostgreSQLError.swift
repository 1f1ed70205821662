/// Why the database did not do what was asked.
public enum PostgreSQLError: Error, Sendable, Equatable, CustomStringConvertible {
    /// There is no connection, and none could be had. Nothing has been done.
    case unreachable(String)
    /// The connection ended while it was being used. Where `outcomeUnknown`, what was asked may have been done all the same.
    case lost(String, outcomeUnknown: Bool)
    /// Too many wait for a connection already. Nothing has been done.
    case crowded
    /// The server said no; nothing has been done. `constraint` is the one that was violated, if any.
    case refused(SQLState, String, constraint: String?)
    /// A result is not of the shape that was asked for.
    case unreadable(String)

    /// Doing the same again may succeed, and cannot do it twice.
    var isTransient: Bool {
        switch self {
        case .lost(_, let outcomeUnknown): !outcomeUnknown
        case .refused(let state, _, _): state == .serializationFailure || state == .deadlock
        case .unreachable, .crowded, .unreadable: false
        }
    }

    public var description: String {
        switch self {
        case .unreachable(let reason): reason
        case .lost(let reason, false): "the connection was lost: \(reason)"
        case .lost(let reason, true): "the connection was lost before the outcome was known: \(reason)"
        case .crowded: "too many calls wait for a connection"
        case .refused(let state, let message, _): "\(message) (SQLSTATE \(state))"
        case .unreadable(let reason): reason
        }
    }
}

/// A class and condition of PostgreSQL's appendix A: five characters.
public struct SQLState: Sendable, Hashable, CustomStringConvertible, ExpressibleByStringLiteral {
    public let description: String

    public init(_ code: String) { description = code }
    public init(stringLiteral code: String) { description = code }

    public static let serializationFailure: SQLState = "40001"
    public static let deadlock: SQLState = "40P01"
    public static let uniqueViolation: SQLState = "23505"
    public static let readOnlyTransaction: SQLState = "25006"
    public static let insufficientPrivilege: SQLState = "42501"
    public static let diskFull: SQLState = "53100"
    public static let lockNotAvailable: SQLState = "55P03"
    public static let queryCanceled: SQLState = "57014"
    public static let dataCorrupted: SQLState = "XX001"
    public static let indexCorrupted: SQLState = "XX002"
}
