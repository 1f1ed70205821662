package import FoundationEssentials

/// Times as the authority's messages have them: whole seconds since 1970, rounded down, and 0 where there is none.
extension Date {
    package init(wire seconds: Int64) { self.init(timeIntervalSince1970: TimeInterval(seconds)) }

    /// nil for 0.
    package init?(wireIfAny seconds: Int64) {
        guard seconds != 0 else { return nil }
        self.init(wire: seconds)
    }

    package var wire: Int64 { Int64(timeIntervalSince1970.rounded(.down)) }
}
