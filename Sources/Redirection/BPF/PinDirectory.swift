import CLibBPF
import Glibc
import LinuxNetworking

/// Where one agent keeps what is to outlive it in the kernel: a directory on a BPF file system, such as `/sys/fs/bpf/culvert`.
///
/// Below it one directory per layout of the maps, so that an agent never takes another's maps for its own; in that the maps, and
/// under `pods` a directory for each pod.
struct PinDirectory: Sendable {
    /// Those that programs of several kinds share.
    static let nodeMaps = ["node_probes", "node_probe_counts"]

    let path: String
    private let root: String
    private let isContained: @Sendable () -> Bool
    private var pods: String { path + "/pods" }

    /// Makes what is missing of it; mounts a BPF file system on the directory above it when there is none yet, unless `isContained`.
    init(_ root: String, isContained: @autoclosure @escaping @Sendable () -> Bool = isContained())
        throws(RedirectionError)
    {
        self.root = root
        self.isContained = isContained
        path = root + "/v\(CULVERT_BPF_VERSION)"
        try prepare()
    }

    /// Whether this process has another root directory than the machine's first one, as in a container that sees the machine's
    /// processes. What such a process mounts nobody else sees, and it goes with the container: capture and guard, too.
    static func isContained(root: String = "/", machine: String = "/proc/1/root/.") -> Bool {
        var (own, first) = (stat(), stat())
        guard stat(root, &own) == 0, stat(machine, &first) == 0 else { return false }
        return own.st_dev != first.st_dev || own.st_ino != first.st_ino
    }

    /// Makes what is missing of it, again if somebody has unmounted the file system.
    func prepare() throws(RedirectionError) {
        let above = PinDirectory.above(root)
        if !PinDirectory.isFileSystem(above) {
            guard !isContained() else { throw .noFileSystem(above) }
            try PinDirectory.make(above)
            guard mount("bpf", above, "bpf", 0, "mode=0700") == 0 else {
                throw .kernel(Errno(code: errno, call: "mount a BPF file system on \(above)"))
            }
        }
        for directory in [root, path, pods] { try PinDirectory.make(directory) }
    }

    /// Without making or looking at anything.
    init(unchecked root: String) {
        self.root = root
        isContained = { PinDirectory.isContained() }
        path = root + "/v\(CULVERT_BPF_VERSION)"
    }

    /// Without making anything; nil when nothing is there.
    init?(existing root: String) {
        self.init(unchecked: root)
        guard access(pods, F_OK) == 0 else { return nil }
    }

    private static func above(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private static func isFileSystem(_ path: String) -> Bool { cbpf_is_on_file_system(path) == 1 }

    private static func make(_ directory: String) throws(RedirectionError) {
        guard mkdir(directory, 0o700) == 0 || errno == EEXIST else {
            throw .kernel(Errno(code: errno, call: "make \(directory)"))
        }
    }

    // MARK: - Pods

    /// Names on a BPF file system have no dots; UIDs may have, and no plus signs.
    func directory(ofPod uid: String) -> String {
        pods + "/" + String(uid.map { $0 == "." ? "+" : $0 })
    }

    func makeDirectory(ofPod uid: String) throws(RedirectionError) {
        try prepare()
        try PinDirectory.make(directory(ofPod: uid))
    }

    /// Those that have a directory.
    func podsPresent() -> [String] {
        PinDirectory.entries(pods).map { String($0.map { $0 == "+" ? "." : $0 }) }
    }

    func pins(ofPod uid: String) -> [String] { PinDirectory.entries(directory(ofPod: uid)) }

    /// Unless something is in it.
    func removeDirectory(ofPod uid: String) throws(RedirectionError) {
        let directory = directory(ofPod: uid)
        guard rmdir(directory) == 0 || [ENOENT, ENOTEMPTY].contains(errno) else {
            throw .kernel(Errno(code: errno, call: "remove \(directory)"))
        }
    }

    static func unpin(_ path: String) throws(RedirectionError) {
        guard unlink(path) == 0 || errno == ENOENT else { throw .kernel(Errno(code: errno, call: "remove \(path)")) }
    }

    /// The directories of all versions, on a BPF file system: what else is there is not ours.
    static func layouts(_ root: String) -> [String] {
        guard isFileSystem(root) else { return [] }
        return entries(root).filter { $0.first == "v" && $0.count > 1 && $0.dropFirst().allSatisfy(\.isNumber) }
            .map { root + "/" + $0 }
    }

    /// The pins of a directory and of all below it.
    static func everything(below path: String) -> [String] {
        entries(path).flatMap { name in
            var status = stat()
            let entry = path + "/" + name
            guard lstat(entry, &status) == 0 else { return [String]() }
            return status.st_mode & S_IFMT == S_IFDIR ? everything(below: entry) : [entry]
        }
    }

    /// Directories without pins; and the file system, if it is one of our own.
    static func removeTree(_ root: String) throws(RedirectionError) {
        let layouts = layouts(root)
        func remove(_ path: String) {
            for name in entries(path) { remove(path + "/" + name) }
            rmdir(path)
        }
        layouts.forEach(remove)
        guard self.layouts(root).isEmpty else { throw .kernel(Errno(code: ENOTEMPTY, call: "remove \(root)")) }
        // Unless somebody else has something there.
        guard rmdir(root) == 0 else { return }
        unmountIfOurs(above(root))
    }

    private static func unmountIfOurs(_ above: String) {
        // The kernel itself may put files there for debugging, with names that nobody else's can have.
        let strangers = entries(above).filter { !$0.contains(".") }
        if above != "/sys/fs/bpf", isFileSystem(above), strangers.isEmpty {
            umount(above)
            rmdir(above)
        }
    }

    /// Removes the maps named, and the directories, unless a pod is left.
    func removeIfUnused(maps: [String]) {
        guard podsPresent().isEmpty else { return }
        for map in maps { unlink(path + "/" + map) }
        // Not as long as there are somebody else's.
        let others = PinDirectory.entries(path).filter { path + "/" + $0 != pods }
        guard others.isEmpty, rmdir(pods) == 0, rmdir(path) == 0, rmdir(root) == 0 else { return }
        // A file system of our own; that of the whole system stays.
        PinDirectory.unmountIfOurs(PinDirectory.above(root))
    }

    private static func entries(_ path: String) -> [String] { (try? Directory.entries(path)) ?? [] }
}
