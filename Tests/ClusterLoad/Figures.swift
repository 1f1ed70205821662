/// What a run has measured, in the order in which it was.
struct Figures {
    private var values: [(name: String, value: Double)] = []

    mutating func add(_ name: String, _ value: Double) { values.append((name, value)) }
    mutating func add(_ name: String, _ value: Int) { add(name, Double(value)) }

    mutating func add(_ name: String, since start: ContinuousClock.Instant) {
        add(name, (ContinuousClock.now - start) / .milliseconds(1))
    }

    /// Of one process: memory at the three moments, and the processor's time up to the second and from there on.
    mutating func add(
        _ name: String, _ start: ProcessUse, _ synchronised: ProcessUse, _ end: ProcessUse, over elapsed: Duration
    ) {
        for (moment, use) in [("start", start), ("synchronised", synchronised), ("end", end)] {
            add("\(name)_rss_\(moment)_mib", Double(use.resident) / 1024)
            add("\(name)_pss_\(moment)_mib", Double(use.proportional) / 1024)
            add("\(name)_anonymous_\(moment)_mib", Double(use.anonymous) / 1024)
        }
        add("\(name)_synchronisation_cpu_s", (synchronised.processor - start.processor) / .seconds(1))
        add("\(name)_core_share", (end.processor - synchronised.processor) / elapsed)
    }

    mutating func add(_ prefix: String, delays: [Duration?]) {
        let sorted = delays.compactMap(\.self).sorted()
        guard let last = sorted.last else { return }
        for (name, share) in [("p50", 50), ("p99", 99)] {
            add("\(prefix)\(name)_ms", sorted[(sorted.count - 1) * share / 100] / .milliseconds(1))
        }
        add("\(prefix)max_ms", last / .milliseconds(1))
    }

    /// As JSON, rounded to hundredths.
    var text: String {
        "{" + values.map { "\"\($0.name)\": \(($0.value * 100).rounded() / 100)" }.joined(separator: ", ") + "}"
    }
}
