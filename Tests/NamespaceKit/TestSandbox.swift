import Glibc
public import LinuxNetworking

/// A process that does nothing but be there: in a network namespace, and in cgroups like those that a kubelet makes for a pod.
///
/// It ends with this object, and also with a test that crashes.
public final class TestSandbox {
    public let pid: Int32
    /// The innermost last.
    private var cgroups: [String] = []
    private let lifeline: Int32
    private var hasEnded = false

    /// `cgroup` is below the mount point of a hierarchy: it is made as far as it is missing, and removed as far as nobody else is in it.
    /// Without a namespace the process is in the caller's.
    public init(in namespace: NetworkNamespace?, hierarchy: String, cgroup: String) throws {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw Errno(code: errno, call: "pipe") }
        let (input, output) = (ends[0], ends[1])
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(input) }
        lifeline = output
        do {
            pid = try namespace?.run { try Self.spawn(input) } ?? Self.spawn(input)
        } catch {
            close(output)
            throw error
        }
        var path = hierarchy
        for name in cgroup.split(separator: "/") {
            path += "/" + name
            mkdir(path, 0o755)
            cgroups.append(path)
        }
        guard let file = fopen(path + "/cgroup.procs", "we") else { throw Errno(code: errno, call: "open \(path)") }
        fputs("\(pid)", file)
        guard fclose(file) == 0 else { throw Errno(code: errno, call: "move process into \(path)") }
    }

    private static func spawn(_ input: Int32) throws(Errno) -> Int32 {
        var files = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&files)
        defer { posix_spawn_file_actions_destroy(&files) }
        posix_spawn_file_actions_adddup2(&files, input, 0)
        var pid: pid_t = 0
        let argument = strdup("cat")
        defer { free(argument) }
        // Reads until its standard input ends, which is when nobody holds the other end any more.
        let result = posix_spawn(&pid, "/bin/cat", &files, nil, [argument, nil], [nil])
        guard result == 0 else { throw Errno(code: result, call: "spawn") }
        return pid
    }

    public var namespacePath: String { "/proc/\(pid)/ns/net" }

    /// It is reaped when this returns.
    public func end() {
        guard !hasEnded else { return }
        hasEnded = true
        close(lifeline)
        kill(pid, SIGKILL)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
    }

    deinit {
        end()
        for path in cgroups.reversed() where rmdir(path) != 0 { break }
    }

    /// Mount points of hierarchies in which cgroups can be made here: the unified one, and one of the first version.
    public static let hierarchies: [String] = {
        guard geteuid() == 0, let file = fopen("/proc/self/mounts", "re") else { return [] }
        defer { fclose(file) }
        var unified: [String] = []
        var named: [String] = []
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(line) }
        while getline(&line, &capacity, file) > 0, let line {
            let fields = String(cString: line).split(separator: " ")
            guard fields.count > 3 else { continue }
            if fields[2] == "cgroup2" { unified.append(String(fields[1])) }
            if fields[2] == "cgroup", fields[3].split(separator: ",").contains("pids") {
                named.append(String(fields[1]))
            }
        }
        return Array(unified.prefix(1) + named.prefix(1))
    }()
}
