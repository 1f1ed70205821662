public import FoundationEssentials

/// When a certificate is renewed: a point between 45 % and 60 % of its life, drawn once when it is received.
///
/// Once, and not afresh at each look: repeated draws would move everybody to the early edge and make a fleet renew together.
public struct RenewalSchedule: Sendable, Equatable {
    public static let window: ClosedRange<Double> = 0.45...0.60

    public let notBefore: Date
    public let notAfter: Date
    public let renewAt: Date

    /// `notBefore` is when the certificate was received, if that is later than its own beginning; `draw` is uniform in 0..<1.
    public init(notBefore: Date, notAfter: Date, draw: Double) {
        let share = Self.window.lowerBound + (Self.window.upperBound - Self.window.lowerBound) * min(max(draw, 0), 1)
        self.notBefore = notBefore
        self.notAfter = notAfter
        renewAt = notBefore.addingTimeInterval(notAfter.timeIntervalSince(notBefore) * share)
    }
}
