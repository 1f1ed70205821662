internal import Glibc

/// One line of a log as it is put together, byte by byte: JSON for machines, or text for people.
///
/// What a peer sent can neither begin a new line nor steer the terminal that shows it: control characters are escaped.
public struct LogLine {
    public enum Format: String, Sendable, CaseIterable {
        case json
        case text
    }

    private let format: Format

    /// Begins with the wall clock's time, in UTC with microseconds. `level` and `scope` are the program's own words.
    public init(_ format: Format, level: String, scope: String, message: String, to bytes: inout [UInt8]) {
        self.init(format, time: Self.wallClock(), level: level, scope: scope, message: message, to: &bytes)
    }

    init(
        _ format: Format, time: timespec, level: String, scope: String, message: String, to bytes: inout [UInt8]
    ) {
        self.format = format
        switch format {
        case .json:
            bytes += "{\"time\":\"".utf8
            Self.append(time, to: &bytes)
            bytes += "\",\"level\":\"".utf8
            bytes += level.utf8
            bytes += "\",\"scope\":".utf8
            Self.quote(scope, to: &bytes)
            bytes += ",\"msg\":".utf8
            Self.quote(message, to: &bytes)
        case .text:
            Self.append(time, to: &bytes)
            bytes.append(0x20)
            bytes += level.utf8
            bytes.append(0x20)
            bytes += scope.utf8
            bytes += ": ".utf8
            Self.escape(message, quotes: false, to: &bytes)
        }
    }

    public func add(_ key: String, _ value: String, to bytes: inout [UInt8]) {
        begin(key, to: &bytes)
        if format == .json || Self.needsQuotes(value) {
            Self.quote(value, to: &bytes)
        } else {
            Self.escape(value, quotes: false, to: &bytes)
        }
    }

    public func add(_ key: String, _ value: some BinaryInteger, to bytes: inout [UInt8]) {
        begin(key, to: &bytes)
        bytes += String(value).utf8
    }

    /// A value that is JSON already, made with `quoted`; for `json` only.
    func add(_ key: String, json value: String, to bytes: inout [UInt8]) {
        begin(key, to: &bytes)
        bytes += value.utf8
    }

    public func end(_ bytes: inout [UInt8]) {
        if format == .json { bytes.append(UInt8(ascii: "}")) }
        bytes.append(0x0a)
    }

    private func begin(_ key: String, to bytes: inout [UInt8]) {
        if format == .json {
            bytes.append(UInt8(ascii: ","))
            Self.quote(key, to: &bytes)
            bytes.append(UInt8(ascii: ":"))
        } else {
            bytes.append(0x20)
            bytes += key.utf8
            bytes.append(UInt8(ascii: "="))
        }
    }

    // MARK: Strings

    static func quoted(_ string: String) -> String {
        var bytes: [UInt8] = []
        quote(string, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func quote(_ string: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        escape(string, quotes: true, to: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    private static func needsQuotes(_ string: String) -> Bool {
        string.isEmpty
            || string.utf8.contains { $0 == 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "=") }
    }

    /// `quotes`: the string stands between quotation marks, so that these and backslashes are escaped, too; a string without
    /// control characters is left alone otherwise.
    private static func escape(_ string: String, quotes: Bool, to bytes: inout [UInt8]) {
        var string = string
        string.withUTF8 { utf8 in
            guard let flaw = utf8.firstIndex(where: { isSpecial($0, quotes: quotes) }) else {
                return bytes.append(contentsOf: utf8)
            }
            bytes.append(contentsOf: utf8[..<flaw])
            var rest = utf8[flaw...]
            while let byte = rest.popFirst() {
                switch byte {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                    bytes.append(UInt8(ascii: "\\"))
                    bytes.append(byte)
                case 0x0a: bytes += "\\n".utf8
                case 0x0d: bytes += "\\r".utf8
                case 0x09: bytes += "\\t".utf8
                case ..<0x20, 0x7f: appendEscape(byte, to: &bytes)
                // The control characters of Latin-1, U+0080 to U+009F.
                case 0xc2 where rest.first.map { $0 < 0xa0 } == true:
                    if let second = rest.popFirst() { appendEscape(second, to: &bytes) }
                default: bytes.append(byte)
                }
            }
        }
    }

    private static func isSpecial(_ byte: UInt8, quotes: Bool) -> Bool {
        byte < 0x20 || byte == 0x7f || byte == 0xc2
            || (quotes && (byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")))
    }

    private static func appendEscape(_ byte: UInt8, to bytes: inout [UInt8]) {
        func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x57 + value }
        bytes += "\\u00".utf8
        bytes.append(digit(byte >> 4))
        bytes.append(digit(byte & 15))
    }

    // MARK: Time

    static func wallClock() -> timespec {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return time
    }

    private static func append(_ time: timespec, to bytes: inout [UInt8]) {
        func digits(_ value: Int, _ width: Int) {
            var divisor = 1
            for _ in 1..<width { divisor *= 10 }
            while divisor > 0 {
                bytes.append(0x30 + UInt8(truncatingIfNeeded: value / divisor % 10))
                divisor /= 10
            }
        }
        var seconds = time.tv_sec
        var parts = tm()
        gmtime_r(&seconds, &parts)
        digits(Int(parts.tm_year) + 1900, 4)
        for (separator, value) in [("-", parts.tm_mon + 1), ("-", parts.tm_mday), ("T", parts.tm_hour)] {
            bytes += separator.utf8
            digits(Int(value), 2)
        }
        for value in [parts.tm_min, parts.tm_sec] {
            bytes.append(UInt8(ascii: ":"))
            digits(Int(value), 2)
        }
        bytes.append(UInt8(ascii: "."))
        digits(time.tv_nsec / 1000, 6)
        bytes.append(UInt8(ascii: "Z"))
    }
}
