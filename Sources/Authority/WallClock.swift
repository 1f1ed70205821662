public import FoundationEssentials

/// The time of day, passed in: validity is about wall time.
public typealias WallClock = @Sendable () -> Date

/// Random bytes, passed in: serial numbers and join tokens. Keys always come from the system's own generator.
public typealias RandomBytes = @Sendable (_ count: Int) -> [UInt8]

/// The operating system's generator.
public let systemRandomBytes: RandomBytes = { count in
    var generator = SystemRandomNumberGenerator()
    // Eight bytes a call: each goes to the kernel.
    return [UInt8](unsafeUninitializedCapacity: count) { bytes, filled in
        for start in stride(from: 0, to: count, by: 8) {
            withUnsafeBytes(of: generator.next()) { word in
                for offset in 0..<min(8, count - start) { bytes[start + offset] = word[offset] }
            }
        }
        filled = count
    }
}

extension Date {
    /// Whole seconds since 1970: certificates know no fractions, and a `Double` compared for equality is a trap.
    var unixSeconds: Int64 { Int64(timeIntervalSince1970.rounded(.down)) }

    init(unixSeconds: Int64) { self.init(timeIntervalSince1970: TimeInterval(unixSeconds)) }

    var inWholeSeconds: Date { Date(unixSeconds: unixSeconds) }

    func advanced(by duration: Duration) -> Date {
        let (seconds, attoseconds) = duration.components
        return addingTimeInterval(TimeInterval(seconds) + TimeInterval(attoseconds) / 1e18)
    }
}
