public import FoundationEssentials

/// A time as the API writes it (RFC 3339): `metav1.Time` in seconds, `metav1.MicroTime` in microseconds.
///
/// Kept as the text that came: two times of one origin are equal when their texts are.
public struct Timestamp: Sendable, Hashable, CustomStringConvertible {
    public let text: String

    public init(_ text: String) {
        self.text = text
    }

    /// Nil for null, and for the empty text.
    init?(from reader: inout JSONReader) throws {
        guard let text = try reader.nonEmptyString() else { return nil }
        self.init(text)
    }

    /// `metav1.Time`.
    public init(seconds date: Date) {
        text = Date.ISO8601FormatStyle().format(date)
    }

    /// `metav1.MicroTime`: always six digits, as the server writes them.
    public init(microseconds date: Date) {
        let whole = date.timeIntervalSince1970.rounded(.down)
        let micros = min(999_999, Int(((date.timeIntervalSince1970 - whole) * 1_000_000).rounded(.down)))
        let digits = String(micros)
        text =
            Date.ISO8601FormatStyle().format(Date(timeIntervalSince1970: whole)).dropLast()
            + "." + String(repeating: "0", count: 6 - digits.count) + digits + "Z"
    }

    /// Nil where the text is no RFC 3339 time.
    public var date: Date? {
        (try? Date.ISO8601FormatStyle().parse(text))
            ?? (try? Date.ISO8601FormatStyle(includingFractionalSeconds: true).parse(text))
    }

    public var description: String { text }
}
