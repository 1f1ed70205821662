public import FoundationEssentials
public import SPIFFE

/// How one identity stands: what readiness and status pages show.
public struct IdentityStatus: Sendable, Equatable {
    public let identity: SPIFFEID
    /// How many pods hold it.
    public let pods: Int
    /// nil until the first SVID is there.
    public let schedule: RenewalSchedule?
    /// Of the newest published SVID; 0 before the first.
    public let generation: UInt64
    public let isRequesting: Bool
    public let nextAttempt: Date
    public let lastError: String?

    /// Whether connections can be made under it.
    public func isReady(now: Date) -> Bool { schedule.map { $0.notAfter > now } ?? false }

    /// One line for the operator.
    public func description(now: Date) -> String {
        let reason = lastError.map { ": \($0)" } ?? ""
        if let schedule, schedule.notAfter > now {
            let validity = "\(identity) is valid for \(Self.seconds(from: now, to: schedule.notAfter)) s"
            guard lastError != nil else { return validity }
            return validity + "; renewal fails\(reason)\(attempt(now: now))"
        }
        let state = schedule == nil ? "waiting for identity \(identity)" : "identity \(identity) has expired"
        return state + reason + attempt(now: now)
    }

    private func attempt(now: Date) -> String {
        isRequesting ? ", asking now" : ", next attempt in \(Self.seconds(from: now, to: nextAttempt)) s"
    }

    private static func seconds(from now: Date, to then: Date) -> Int64 {
        Int64(max(0, then.timeIntervalSince(now)).rounded(.up))
    }
}
