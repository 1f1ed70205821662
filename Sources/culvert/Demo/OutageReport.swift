/// What happened while both proxies were dead.
struct OutageReport: Sendable {
    var attempted = 0
    /// Attempts that failed, as they had to.
    var refused = 0
    var slowestRefusal = Duration.zero
    /// Attempts that got through, and by which way.
    var gotThrough: [String] = []
    /// From the kill to the end of the long-lived connection.
    var conversationBrokeAfter: Duration?
    /// Between enrolled pods, from the kill to the end of the outage.
    var plaintextBytes: UInt64 = 0

    static let refusalLimit = Duration.seconds(1)

    var check: DemoCheck {
        var problems: [String] = []
        if attempted == 0 { problems.append("no connection was tried") }
        if !gotThrough.isEmpty { problems.append("got through without a proxy: \(gotThrough.joined(separator: ", "))") }
        if slowestRefusal > OutageReport.refusalLimit {
            problems.append("the slowest refusal took \(Quantity.duration(slowestRefusal))")
        }
        if conversationBrokeAfter == nil { problems.append("the long-lived connection did not end") }
        if plaintextBytes > 0 { problems.append("\(plaintextBytes) bytes of plaintext crossed the wire") }
        let broke = conversationBrokeAfter.map(Quantity.duration) ?? ""
        return DemoCheck(
            "proxies killed", problems: problems,
            success:
                "\(refused) of \(attempted) new connections refused (slowest \(Quantity.duration(slowestRefusal))), "
                + "the open one broken after \(broke), \(plaintextBytes) bytes of plaintext on the wire")
    }
}

/// What happened once the proxies were started again.
struct RecoveryReport: Sendable {
    /// From the start of the new proxies to the first answer of every pair; `nil` if that never came.
    var after: Duration?
    /// What still failed when the time was up.
    var failure: String?
    /// Between enrolled pods, in the whole of the demo.
    var plaintextBytes: UInt64 = 0

    var check: DemoCheck {
        var problems: [String] = []
        if after == nil { problems.append("traffic did not recover: \(failure ?? "no reason known")") }
        if plaintextBytes > 0 { problems.append("\(plaintextBytes) bytes of plaintext crossed the wire") }
        return DemoCheck(
            "proxies restarted", problems: problems,
            success: "every pair talks again \(after.map(Quantity.duration) ?? "") after the restart, "
                + "\(plaintextBytes) bytes of plaintext on the wire")
    }
}
