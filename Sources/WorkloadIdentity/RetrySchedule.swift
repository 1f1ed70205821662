/// How long to wait after a failure: a random time between half a second and a bound that doubles with each failure up to 150 s.
///
/// The whole interval is random ("full jitter"), so that a fleet that lost its authority together does not come back together.
public struct RetrySchedule: Sendable, Equatable {
    public static let delayMin: Duration = .milliseconds(500)
    public static let delayMax: Duration = .seconds(150)

    public private(set) var failures = 0

    public init() {}

    /// `draw` is uniform in 0..<1.
    public mutating func next(draw: Double) -> Duration {
        let bound = min(Self.delayMax, .seconds(1) * (1 << min(failures, 10)))
        failures += 1
        return Self.delayMin + (bound - Self.delayMin) * min(max(draw, 0), 1)
    }

    /// After an answer that asking again will hardly change: the upper half of the longest delay.
    public mutating func nextAfterDenial(draw: Double) -> Duration {
        failures += 1
        return Self.delayMax / 2 + Self.delayMax / 2 * min(max(draw, 0), 1)
    }
}
