/// The result of a demo, before it is shown.
struct DemoReport: Sendable {
    let pairs: [PairReport]
    let outage: OutageReport
    let recovery: RecoveryReport
    let taps: TapReport
    /// Phases in their order.
    let durations: [(phase: String, duration: Duration)]

    var checks: [DemoCheck] { pairs.map(\.check) + [outage.check, recovery.check, taps.check] }
    var passed: Bool { checks.allSatisfy(\.passed) }
}
