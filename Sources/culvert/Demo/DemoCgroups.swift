import Glibc
import LinuxNetworking
import Redirection

/// Cgroups of the demo's proxies, named as its namespaces are.
enum DemoCgroups {
    /// The path; it may be there already.
    static func make(_ name: String) throws -> String {
        let path = try Cgroup.root() + "/" + name
        guard mkdir(path, 0o755) == 0 || errno == EEXIST else { throw Errno(code: errno, call: "create \(path)") }
        return path
    }

    /// Those without processes; without the hierarchy there are none.
    static func remove(prefix: String) {
        guard let root = try? Cgroup.root() else { return }
        for name in DirectoryTree.entries(root) where name.hasPrefix(prefix) { rmdir(root + "/" + name) }
    }
}
