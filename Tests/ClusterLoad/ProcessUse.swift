import FoundationEssentials
import Glibc

/// What a process has used so far, by its `/proc`.
struct ProcessUse {
    /// Everything resident; the same with its part of what several processes share; and what is no file's. In KiB.
    let resident: Int
    let proportional: Int
    let anonymous: Int
    /// User and system time of all of its threads, in ticks of 10 ms.
    let processor: Duration

    init(_ pid: pid_t) throws {
        let memory = try String(contentsOfFile: "/proc/\(pid)/smaps_rollup", encoding: .utf8)
        func kibibytes(_ name: String) throws -> Int {
            let line = memory.split(separator: "\n").first { $0.hasPrefix(name + ":") }
            guard let words = line?.split(separator: " "), words.count > 1, let value = Int(words[1]) else {
                throw Failure("/proc/\(pid)/smaps_rollup does not say \(name)")
            }
            return value
        }
        resident = try kibibytes("Rss")
        proportional = try kibibytes("Pss")
        anonymous = try kibibytes("Anonymous")
        // Fields 14 and 15 (proc_pid_stat(5)); the name in parentheses may itself have spaces.
        let stat = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
        let fields = stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].split(separator: " ")
        guard fields.count > 13, let user = Int(fields[12]), let system = Int(fields[13]) else {
            throw Failure("/proc/\(pid)/stat is not understood")
        }
        processor = .seconds(user + system) / sysconf(Int32(_SC_CLK_TCK))
    }
}
