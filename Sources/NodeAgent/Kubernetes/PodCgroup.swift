/// Whose a process is, by the names of the cgroups that it is in.
///
/// The kubelet names a pod's cgroup after the pod, in one of two manners: `pod<uid>` (driver `cgroupfs`), and
/// `kubepods-burstable-pod<uid>.slice`, where the uid has `_` for `-` (driver `systemd`). What the container runtimes add is below it, or,
/// in the systemd manner without systemd, after a colon.
enum PodCgroup {
    /// The uids of pods in `/proc/<pid>/cgroup`, each once: outer ones first, which are the pod of a whole node if it runs in a
    /// pod itself.
    static func uids(inFile lines: [String]) -> [String] {
        var found: [String] = []
        for line in lines {
            // hierarchy:controllers:path
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            for uid in uids(inPath: fields[2]) where !found.contains(uid) { found.append(uid) }
        }
        return found
    }

    /// Also of a path that begins with `/..`, as seen from within another cgroup namespace.
    static func uids(inPath path: Substring) -> [String] {
        path.split(separator: "/").compactMap(uid)
    }

    private static func uid(inComponent component: Substring) -> String? {
        let name = component.prefix { $0 != ":" }
        if name.hasSuffix(".slice") {
            let parts = name.dropLast(".slice".count).split(separator: "-pod")
            guard parts.count > 1, let last = parts.last else { return nil }
            let uid = String(last.map { $0 == "_" ? "-" : $0 })
            return isUID(uid) ? uid : nil
        }
        guard name.hasPrefix("pod") else { return nil }
        let uid = String(name.dropFirst("pod".count))
        return isUID(uid) ? uid : nil
    }

    /// A UUID; or a hash without dashes, by which the kubelet knows a pod that it has from a file.
    private static func isUID(_ text: String) -> Bool {
        let groups = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard groups.map(\.count) == [8, 4, 4, 4, 12] || groups.map(\.count) == [32] else { return false }
        return groups.joined().allSatisfy { byte in
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
        }
    }
}
