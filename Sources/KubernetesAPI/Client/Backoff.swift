/// How long to wait before asking again: client-go's reflector's numbers, 800 ms doubled up to 30 s, each up to as much again at
/// random, so that a cluster's agents do not come back together.
public struct Backoff: Sendable, Equatable {
    public static let delayMin: Duration = .milliseconds(800)
    public static let delayMax: Duration = .seconds(30)

    public private(set) var failures = 0

    public init() {}

    /// `draw` is uniform in 0..<1. `atLeast` is what the server has asked for.
    public mutating func next(draw: Double, atLeast: Duration? = nil) -> Duration {
        let base = min(Self.delayMax, Self.delayMin * (1 << min(failures, 10)))
        failures += 1
        return max(base + base * min(max(draw, 0), 1), atLeast ?? .zero)
    }

    /// It works again.
    public mutating func reset() { failures = 0 }
}
