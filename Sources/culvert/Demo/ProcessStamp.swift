import Glibc

/// A process that cannot be mistaken for a later one with the same number.
struct ProcessStamp: Hashable, Sendable {
    let pid: pid_t
    /// In clock ticks since boot, from `/proc/<pid>/stat`.
    let startTime: UInt64

    init(pid: pid_t, startTime: UInt64) {
        self.pid = pid
        self.startTime = startTime
    }

    /// `nil` when there is no such process.
    init?(running pid: pid_t) {
        guard let text = try? TextFile.read("/proc/\(pid)/stat"),
            let startTime = ProcessStamp.startTime(stat: text)
        else { return nil }
        self.init(pid: pid, startTime: startTime)
    }

    var isRunning: Bool { ProcessStamp(running: pid) == self }

    /// Field 22 (proc_pid_stat(5)); field 2, the name in parentheses, may itself contain spaces and parentheses.
    static func startTime(stat: String) -> UInt64? {
        guard let end = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        return fields.count > 19 ? UInt64(fields[19]) : nil
    }
}

extension ProcessStamp: LosslessStringConvertible {
    var description: String { "\(pid) \(startTime)" }

    init?(_ description: String) {
        let parts = description.split(separator: " ")
        guard parts.count == 2, let pid = pid_t(parts[0]), pid > 1, let startTime = UInt64(parts[1]) else { return nil }
        self.init(pid: pid, startTime: startTime)
    }
}
