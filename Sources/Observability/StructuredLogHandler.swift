internal import Glibc
public import Logging

/// Writes one line per event to standard error: JSON for machines, or text for people.
///
/// A line is written by one write(2), so that lines of threads and processes sharing the descriptor do not mix.
public struct StructuredLogHandler: LogHandler {
    public typealias Format = LogLine.Format

    public var metadata: Logger.Metadata = [:]
    public var logLevel: Logger.Level
    private let label: String
    private let format: Format
    private let write: @Sendable ([UInt8]) -> Void
    private let now: @Sendable () -> timespec

    public init(label: String, format: Format, level: Logger.Level) {
        self.init(
            label: label, format: format, level: level, now: { LogLine.wallClock() }, write: { LogOutput.write($0) })
    }

    init(
        label: String, format: Format, level: Logger.Level, now: @escaping @Sendable () -> timespec,
        write: @escaping @Sendable ([UInt8]) -> Void
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
        var bytes: [UInt8] = []
        bytes.reserveCapacity(512)
        let line = LogLine(
            format, time: now(), level: event.level.rawValue, scope: label, message: "\(event.message)", to: &bytes)
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
            switch (value, format) {
            case (.string(let string), _): line.add(key, string, to: &bytes)
            case (_, .json): line.add(key, json: json(value), to: &bytes)
            case (_, .text): line.add(key, "\(value)", to: &bytes)
            }
        }
        line.end(&bytes)
        write(bytes)
    }

    private func json(_ value: Logger.MetadataValue) -> String {
        switch value {
        case .string(let string): LogLine.quoted(string)
        case .stringConvertible(let number as any BinaryInteger): "\(number)"
        case .stringConvertible(let other): LogLine.quoted(other.description)
        case .array(let values): "[" + values.map(json).joined(separator: ",") + "]"
        case .dictionary(let values):
            "{" + values.sorted { $0.key < $1.key }.map { "\(LogLine.quoted($0)):\(json($1))" }.joined(separator: ",")
                + "}"
        }
    }
}

/// Where log lines go.
public enum LogOutput {
    /// All of it, in one write(2) if the kernel takes it; what cannot be written is lost.
    public static func write(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { buffer in
            var rest = buffer[...]
            while !rest.isEmpty {
                let written = Glibc.write(2, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
                if written < 0 && errno == EINTR { continue }
                guard written > 0 else { return }
                rest = rest.dropFirst(written)
            }
        }
    }
}
