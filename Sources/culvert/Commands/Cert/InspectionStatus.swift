/// How an inspection ended, as the exit status says it. The lower one is reported when several apply.
enum InspectionStatus: Int32, Comparable, Sendable {
    case well = 0
    case unreadable = 2
    case expired = 3
    case notYetValid = 4
    case unverified = 5
    case profileViolation = 6

    static func < (left: InspectionStatus, right: InspectionStatus) -> Bool { left.rawValue < right.rawValue }

    /// The one to report.
    func joined(_ other: InspectionStatus) -> InspectionStatus {
        if self == .well { return other }
        return other == .well ? self : min(self, other)
    }
}
