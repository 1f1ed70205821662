/// Amounts as people read them.
enum Quantity {
    /// `0 B`, `1023 B`, `1.5 KiB`, `64.0 MiB`.
    static func bytes(_ count: UInt64) -> String {
        guard count >= 1024 else { return "\(count) B" }
        var (value, unit) = (Double(count) / 1024, "KiB")
        for next in ["MiB", "GiB"] where value >= 1024 { (value, unit) = (value / 1024, next) }
        return "\(oneDecimal(value)) \(unit)"
    }

    /// `0.4 ms`, `12 ms`, `1.3 s`.
    static func duration(_ duration: Duration) -> String {
        let milliseconds = duration / .milliseconds(1)
        if milliseconds < 10 { return "\(oneDecimal(milliseconds)) ms" }
        return milliseconds < 1000 ? "\(Int(milliseconds.rounded())) ms" : "\(oneDecimal(milliseconds / 1000)) s"
    }

    static func milliseconds(_ duration: Duration) -> Double {
        (duration / .microseconds(100)).rounded() / 10
    }

    private static func oneDecimal(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
