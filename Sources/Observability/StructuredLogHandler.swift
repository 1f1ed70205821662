internal import Glibc
public import Logging

/// Writes one line per event to standard error: JSON for machines, or text for people.
///
/// A line is written by one write(2), so that lines of threads and processes sharing the descriptor do not mix.
public struct StructuredLogHandler: LogHandler {
    public enum Format: String, Sendable, CaseIterable {
        case json
        case text
    }

    public var metadata: Logger.Metadata = [:]
    public var logLevel: Logger.Level
    private let label: String
    private let format: Format
    private let write: @Sendable (String) -> Void
    private let now: @Sendable () -> timespec

    public init(label: String, format: Format, level: Logger.Level) {
        self.init(label: label, format: format, level: level, now: { wallClock() }, write: { writeToStandardError($0) })
    }

    init(
        label: String, format: Format, level: Logger.Level, now: @escaping @Sendable () -> timespec,
        write: @escaping @Sendable (String) -> Void
    ) {
        self.label = label
        self.format = format
        self.now = now
        self.write = write
        logLevel = level
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var fields = metadata
        if let own = event.metadata { fields.merge(own) { $1 } }
        let sorted = fields.sorted { $0.key < $1.key }
        let time = rfc3339(now())
        switch format {
        case .json:
            var line = "{\"time\":\"\(time)\",\"level\":\"\(event.level)\",\"scope\":\(quoted(label)),\"msg\":"
            line += quoted("\(event.message)")
            for (key, value) in sorted { line += ",\(quoted(key)):\(json(value))" }
            write(line + "}\n")
        case .text:
            var line = "\(time) \(event.level) \(label): \(printable("\(event.message)"))"
            for (key, value) in sorted { line += " \(key)=\(text(value))" }
            write(line + "\n")
        }
    }

    private func json(_ value: Logger.MetadataValue) -> String {
        switch value {
        case .string(let string): quoted(string)
        case .stringConvertible(let number as any BinaryInteger): "\(number)"
        case .stringConvertible(let other): quoted(other.description)
        case .array(let values): "[" + values.map(json).joined(separator: ",") + "]"
        case .dictionary(let values):
            "{" + values.sorted { $0.key < $1.key }.map { "\(quoted($0)):\(json($1))" }.joined(separator: ",") + "}"
        }
    }

    private func text(_ value: Logger.MetadataValue) -> String {
        let plain = printable("\(value)")
        let needsQuotes = plain.isEmpty || plain.contains { $0 == " " || $0 == "\"" || $0 == "=" }
        return needsQuotes ? quoted(plain) : plain
    }

    /// What a peer sent must not start a new line of the log, nor steer the terminal that shows it.
    private func printable(_ string: String) -> String {
        guard string.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
            return string
        }
        return String(quoted(string).dropFirst().dropLast())
    }

    private func quoted(_ string: String) -> String {
        var out = "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            default:
                if scalar.properties.generalCategory == .control {
                    let digits = String(scalar.value, radix: 16)
                    out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    out.unicodeScalars.append(scalar)
                }
            }
        }
        return out + "\""
    }
}

private func wallClock() -> timespec {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return time
}

private func writeToStandardError(_ line: String) {
    var line = line
    line.withUTF8 { bytes in _ = Glibc.write(2, bytes.baseAddress, bytes.count) }
}

/// UTC with microseconds.
private func rfc3339(_ time: timespec) -> String {
    func padded(_ value: some BinaryInteger, _ width: Int) -> String {
        let digits = "\(value)"
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    var seconds = time.tv_sec
    var parts = tm()
    gmtime_r(&seconds, &parts)
    let date = "\(padded(parts.tm_year + 1900, 4))-\(padded(parts.tm_mon + 1, 2))-\(padded(parts.tm_mday, 2))"
    let clock = "\(padded(parts.tm_hour, 2)):\(padded(parts.tm_min, 2)):\(padded(parts.tm_sec, 2))"
    return "\(date)T\(clock).\(padded(time.tv_nsec / 1000, 6))Z"
}
