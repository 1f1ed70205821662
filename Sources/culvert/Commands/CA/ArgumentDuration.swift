import ArgumentParser
import Authority

/// A duration on the command line: a whole number and one of `s m h d`.
struct ArgumentDuration: ExpressibleByArgument, Sendable, Equatable {
    let value: Duration

    init(_ value: Duration) { self.value = value }

    init?(argument: String) {
        guard let unit = argument.last, let size = Self.secondsIn[unit], let count = Int(argument.dropLast()),
            count > 0,
            count <= 100_000_000
        else { return nil }
        value = .seconds(count * size)
    }

    var defaultValueDescription: String { value.inWords }

    static let secondsIn: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
}

extension ArgumentHelp {
    /// Of an option that is a duration: what is written wrong is shown this text.
    static func duration(_ text: String) -> ArgumentHelp {
        ArgumentHelp("\(text) A number with s, m, h or d.", valueName: "duration")
    }
}
