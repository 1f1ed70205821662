import Glibc
import LinuxNetworking

/// The processes of pods, found in procfs, and the network namespaces that they are in.
struct PodProcesses {
    struct Place: Hashable {
        /// Below the procfs that was read.
        let path: String
        let id: NamespaceID
        /// Of the oldest process there, in clock ticks since the machine started.
        let startedAt: UInt64
    }

    /// By the pod's uid, each namespace once, that of the oldest process first: the sandbox's own process is older than what containers
    /// start, some of which in namespaces of their own.
    let places: [String: [Place]]

    /// Never one of `excluded`, the namespaces of the machine itself, which processes of a pod may be in, too: helpers of the container
    /// runtime are.
    static func scan(
        proc: String, for uids: Set<String>, excluding excluded: Set<NamespaceID>
    ) throws(Errno) -> PodProcesses {
        var places: [String: [NamespaceID: Place]] = [:]
        for name in try Directory.entries(proc) where name.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            let directory = proc + "/" + name
            guard let uid = uid(ofProcess: directory, among: uids),
                let id = NamespaceID(at: directory + "/ns/net"), !excluded.contains(id),
                let startedAt = startTime(directory)
            else { continue }
            let place = Place(path: directory + "/ns/net", id: id, startedAt: startedAt)
            if let earlier = places[uid]?[id], earlier.startedAt <= startedAt { continue }
            places[uid, default: [:]][id] = place
        }
        return PodProcesses(
            places: places.mapValues { $0.values.sorted { ($0.startedAt, $0.path) < ($1.startedAt, $1.path) } })
    }

    /// Whose of these pods a process is.
    static func uid(ofProcess directory: String, among uids: Set<String>) -> String? {
        guard let text = contents(directory + "/cgroup", bytesMax: 16 << 10) else { return nil }
        return PodCgroup.uids(inFile: text.split(separator: "\n").map(String.init)).first(where: uids.contains)
    }

    private static func startTime(_ directory: String) -> UInt64? {
        guard let text = contents(directory + "/stat", bytesMax: 4 << 10) else { return nil }
        return startTime(inFile: text)
    }

    /// The 22nd field of `/proc/<pid>/stat`; the second one, the command, may hold blanks and brackets (proc_pid_stat(5)).
    static func startTime(inFile text: String) -> UInt64? {
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        return fields.count > 19 ? UInt64(fields[19]) : nil
    }

    /// nil for what is not there, such as a process that is gone, or empty.
    static func contents(_ path: String, bytesMax: Int) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: bytesMax)
        var filled = 0
        while filled < bytes.count {
            let count = bytes[filled...].withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            filled += count
        }
        return filled > 0 ? String(decoding: bytes[..<filled], as: UTF8.self) : nil
    }
}
