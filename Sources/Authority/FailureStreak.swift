/// How often in a row something has failed, and how often at all.
public struct FailureStreak: Sendable, Equatable {
    public private(set) var total: UInt64 = 0
    /// 0 after a success.
    public private(set) var consecutive: UInt64 = 0
    /// Of the last failure; nil after a success.
    public private(set) var reason: String?

    public init() {}

    public mutating func succeeded() {
        consecutive = 0
        reason = nil
    }

    public mutating func failed(_ reason: String) {
        total += 1
        consecutive += 1
        self.reason = reason
    }
}
