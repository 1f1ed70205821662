import Synchronization

/// Counters by name and labels, printed in Prometheus' text format.
///
/// The number of series is bounded: what comes after `seriesMax` is added up under the label `overflow="true"`.
public final class Counters: Sendable {
    /// One series; adding to it takes no lock.
    public final class Series: Sendable {
        private let value = Atomic<UInt64>(0)

        public func add(_ amount: UInt64 = 1) { value.wrappingAdd(amount, ordering: .relaxed) }

        var current: UInt64 { value.load(ordering: .relaxed) }
    }

    private struct State {
        var help: [String: String] = [:]
        var series: [String: [String: Series]] = [:]
        var count = 0
    }

    private let state = Mutex(State())
    private let seriesMax: Int

    public init(seriesMax: Int = 10_000) {
        self.seriesMax = seriesMax
    }

    /// Every counter is described before it is used, so that it is shown even while it is zero.
    public func describe(_ name: String, _ help: String) {
        state.withLock { $0.help[name] = help }
    }

    public func add(_ amount: UInt64 = 1, to name: String, labels: KeyValuePairs<String, String> = [:]) {
        series(name, labels: labels).add(amount)
    }

    /// The series of these labels, to be kept by those who add often.
    public func series(_ name: String, labels: KeyValuePairs<String, String> = [:]) -> Series {
        let key = Self.text(of: labels)
        return state.withLock { state in
            if let known = state.series[name]?[key] { return known }
            let isOver = state.count >= seriesMax
            let place = isOver ? "overflow=\"true\"" : key
            if let known = state.series[name]?[place] { return known }
            if !isOver { state.count += 1 }
            let new = Series()
            state.series[name, default: [:]][place] = new
            return new
        }
    }

    /// Exposition format 0.0.4, sorted.
    public var text: String {
        let (help, series) = state.withLock { ($0.help, $0.series) }
        var out = ""
        for (name, description) in help.sorted(by: { $0.key < $1.key }) {
            out += "# HELP \(name) \(description)\n# TYPE \(name) counter\n"
            let rows = series[name] ?? ["": Series()]
            for (labels, series) in rows.sorted(by: { $0.key < $1.key }) {
                let value = series.current
                out += labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
            }
        }
        return out
    }

    /// As it stands between the braces.
    static func text(of labels: KeyValuePairs<String, String>) -> String {
        labels.map { "\($0)=\"\(escaped($1))\"" }.joined(separator: ",")
    }

    private static func escaped(_ value: String) -> String {
        guard value.contains(where: { $0 == "\\" || $0 == "\"" || $0 == "\n" }) else { return value }
        return value.reduce(into: "") { out, character in
            switch character {
            case "\\": out += "\\\\"
            case "\"": out += "\\\""
            case "\n": out += "\\n"
            default: out.append(character)
            }
        }
    }
}
