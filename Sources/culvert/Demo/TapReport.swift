/// Whether the taps can be believed.
struct TapReport: Sendable {
    var taps = 0
    var packets: UInt64 = 0
    /// Packets that the kernel could not keep for a tap.
    var missed: UInt64 = 0
    /// TCP payload that belongs to no pair of the demo.
    var strayBytes: UInt64 = 0
    var failures: [String] = []

    var check: DemoCheck {
        var problems = failures
        if packets == 0 { problems.append("the taps saw no packets at all") }
        if missed > 0 { problems.append("the taps missed \(missed) of \(packets + missed) packets") }
        if strayBytes > 0 { problems.append("\(strayBytes) bytes belong to no pair") }
        return DemoCheck("taps", problems: problems, success: "\(taps) interfaces, \(packets) packets, none missed")
    }
}
