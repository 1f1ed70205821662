import Glibc

/// Tells on standard error what is happening, with the time since the start, and keeps how long each phase took.
final class DemoProgress {
    private let start = ContinuousClock.now
    private var phaseStart = ContinuousClock.now
    private let ink = Ink(for: STDERR_FILENO)
    private(set) var durations: [(phase: String, duration: Duration)] = []

    func say(_ text: String) {
        let time = Quantity.duration(.now - start)
        let padding = String(repeating: " ", count: max(0, 7 - time.count))
        write(ink(padding + time, .dim) + "  " + text + "\n")
    }

    func warn(_ text: String) { write(ink(text, .bad) + "\n") }

    /// Nobody can be told when standard error is gone.
    func write(_ text: String) { try? TextFile.write(text, to: STDERR_FILENO, "standard error") }

    /// Ends the phase that began with the last call, or with the start.
    func endPhase(_ name: String) {
        durations.append((name, .now - phaseStart))
        phaseStart = .now
    }
}
