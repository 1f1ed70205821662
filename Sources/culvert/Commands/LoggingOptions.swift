public import ArgumentParser
public import Logging
public import Observability

/// How a role logs; the same for all of them.
struct LoggingOptions: ParsableArguments {
    @Option(name: .customLong("log-format"), help: "json or text.")
    var format = StructuredLogHandler.Format.json

    @Option(name: .customLong("log-level"), help: "trace, debug, info, notice, warning, error or critical.")
    var level = Logger.Level.info

    /// Once, at the start of the process.
    func bootstrap() {
        let (format, level) = (format, level)
        LoggingSystem.bootstrap { StructuredLogHandler(label: $0, format: format, level: level) }
    }
}

extension StructuredLogHandler.Format: ExpressibleByArgument {}
extension Logger.Level: @retroactive ExpressibleByArgument {}
