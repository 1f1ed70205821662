import Glibc
import LinuxNetworking
import Logging

/// The records of a node's redirected pods, one file `<uid>.pod` each.
///
/// They are to survive the agent, not the machine: after a reboot no namespace is left that they speak of, and none of
/// them is read again. So a file is renamed into place and not waited for until it is on the disk.
struct PodRecordDirectory: Sendable {
    private static let suffix = ".pod"
    /// In bytes; the longest path fits four times.
    private static let bytesMax = 16 << 10

    let path: String
    private let bootID: String
    private let logger: Logger

    init(path: String, logger: Logger) throws(Errno) {
        self.path = path
        self.logger = logger
        bootID = try Sysctl.read("kernel/random/boot_id")
    }

    /// Of this boot, by uid. A damaged one is logged and passed over: the pod stays closed until it is enrolled again, or
    /// somebody looks.
    func all() throws(Errno) -> [String: PodRecord] {
        var records: [String: PodRecord] = [:]
        for name in try Directory.entries(path) where name.hasSuffix(Self.suffix) {
            let uid = String(name.dropLast(Self.suffix.count))
            if let record = try read(uid: uid) { records[uid] = record }
        }
        return records
    }

    func read(uid: String) throws(Errno) -> PodRecord? {
        let file = file(uid)
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw Errno(code: errno, call: "open \(file)")
        }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: Self.bytesMax)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw Errno(code: errno, call: "read \(file)") }
        guard let (record, boot) = PodRecord.parse(String(decoding: bytes[..<count], as: UTF8.self), uid: uid) else {
            logger.error("Pod record is damaged; passed over", metadata: ["file": "\(file)"])
            return nil
        }
        return boot == bootID ? record : nil
    }

    func write(_ record: PodRecord) throws(Errno) {
        let draft = path + "/" + record.uid + ".new"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw Errno(code: errno, call: "make \(draft)") }
        let bytes = Array(record.text(bootID: bootID).utf8)
        let written = Glibc.write(descriptor, bytes, bytes.count)
        let code = written < 0 ? errno : ENOSPC
        close(descriptor)
        guard written == bytes.count else { throw Errno(code: code, call: "write \(draft)") }
        guard rename(draft, file(record.uid)) == 0 else { throw Errno(code: errno, call: "rename \(draft)") }
    }

    func remove(uid: String) throws(Errno) {
        guard unlink(file(uid)) == 0 || errno == ENOENT else {
            throw Errno(code: errno, call: "remove \(file(uid))")
        }
    }

    private func file(_ uid: String) -> String { path + "/" + uid + Self.suffix }
}
