import FoundationEssentials
import Glibc
public import LinuxNetworking

/// Where a role leaves its report for others on its node: a file that is always whole.
public struct ReportFile<Report: Codable & Sendable>: Sendable {
    public let path: String

    public init(path: String) { self.path = path }

    /// Not waited for until it is on the disk: after a reboot it speaks of nothing.
    public func write(_ report: Report) throws(Errno) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(report) else { throw Errno(code: EINVAL, call: "encode the report") }
        let draft = path + ".new"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw Errno(code: errno, call: "make \(draft)") }
        let bytes = Array(data)
        let written = Glibc.write(descriptor, bytes, bytes.count)
        let code = written < 0 ? errno : ENOSPC
        close(descriptor)
        guard written == bytes.count else { throw Errno(code: code, call: "write \(draft)") }
        guard rename(draft, path) == 0 else { throw Errno(code: errno, call: "rename \(draft)") }
    }

    /// nil when there is none, or none that this version understands.
    public func read() -> Report? {
        guard let data = try? Data(contentsOf: URL(filePath: path)) else { return nil }
        return try? JSONDecoder().decode(Report.self, from: data)
    }

    public func remove() { unlink(path) }
}
