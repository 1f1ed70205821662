import Synchronization

/// Counters by name and labels, printed in Prometheus' text format.
///
/// The number of series is bounded: what comes after `seriesMax` is added up under the label `overflow="true"`.
public final class Counters: Sendable {
    private struct State {
        var help: [String: String] = [:]
        var series: [String: [String: UInt64]] = [:]
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
        let key = labels.map { "\($0)=\"\(Counters.escaped($1))\"" }.joined(separator: ",")
        state.withLock { state in
            if state.series[name]?[key] != nil {
                state.series[name]?[key]? &+= amount
            } else if state.count < seriesMax {
                state.count += 1
                state.series[name, default: [:]][key] = amount
            } else {
                state.series[name, default: [:]]["overflow=\"true\"", default: 0] &+= amount
            }
        }
    }

    /// Exposition format 0.0.4, sorted.
    public var text: String {
        let (help, series) = state.withLock { ($0.help, $0.series) }
        var out = ""
        for (name, description) in help.sorted(by: { $0.key < $1.key }) {
            out += "# HELP \(name) \(description)\n# TYPE \(name) counter\n"
            let rows = series[name] ?? ["": 0]
            for (labels, value) in rows.sorted(by: { $0.key < $1.key }) {
                out += labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
            }
        }
        return out
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
