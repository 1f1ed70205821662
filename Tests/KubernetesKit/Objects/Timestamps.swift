import FoundationEssentials

/// Times as the API writes them: RFC 3339 in UTC, whole seconds (`Time`) or six digits (`MicroTime`).
enum Timestamps {
    static func text(_ date: Date) -> String {
        Date(timeIntervalSince1970: date.timeIntervalSince1970.rounded(.down)).formatted(.iso8601)
    }

    static func text(seconds: Double) -> String { text(Date(timeIntervalSince1970: seconds)) }

    /// Seconds since 1970 of any RFC 3339 time; nil where it is none.
    static func seconds(_ text: String) -> Double? {
        guard let point = text.firstIndex(of: ".") else {
            return (try? Date(text, strategy: .iso8601))?.timeIntervalSince1970
        }
        let end = text[text.index(after: point)...].firstIndex { !$0.isNumber } ?? text.endIndex
        guard let whole = (try? Date(String(text[..<point] + text[end...]), strategy: .iso8601))?.timeIntervalSince1970
        else { return nil }
        return whole + (Double("0" + text[point..<end]) ?? 0)
    }
}
