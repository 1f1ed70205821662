/// A page in Prometheus' text format, composed when it is asked for.
public struct MetricsPage: Sendable {
    public enum Kind: String, Sendable {
        case gauge, counter
    }

    public struct Row: Sendable {
        let labels: String
        let value: String

        public init(_ value: some BinaryInteger, _ labels: KeyValuePairs<String, String> = [:]) {
            self.labels = Counters.text(of: labels)
            self.value = String(value)
        }
    }

    /// Exposition format 0.0.4, in the order in which it was added.
    public private(set) var text = ""

    public init() {}

    /// Every row has labels of its own. Without rows nothing is said but that there is such a metric.
    public mutating func add(_ name: String, _ kind: Kind, _ help: String, _ rows: [Row]) {
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
        for row in rows {
            text += row.labels.isEmpty ? "\(name) \(row.value)\n" : "\(name){\(row.labels)} \(row.value)\n"
        }
    }
}
