import Glibc
import LinuxNetworking

/// Network namespaces with a name, as `ip netns` keeps them: bind mounts below `/run/netns`, so that `ip netns exec`
/// finds them.
enum NamedNetworkNamespace {
    static let directory = "/run/netns"

    static func make(_ name: String) throws(Errno) -> NetworkNamespace {
        try makeDirectory()
        let path = "\(directory)/\(name)"
        let file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0)
        guard file >= 0 else { throw Errno(code: errno, call: "create \(path)") }
        close(file)
        do throws(Errno) {
            let namespace = try NetworkNamespace.make()
            guard mount("/proc/self/fd/\(namespace.descriptor)", path, "none", UInt(MS_BIND), nil) == 0 else {
                throw Errno(code: errno, call: "mount network namespace \(path)")
            }
            return namespace
        } catch {
            unlink(path)
            throw error
        }
    }

    /// What is in the namespace goes on until it ends; the name is free at once. Nothing happens when there is none.
    static func remove(_ name: String) throws(Errno) {
        let path = "\(directory)/\(name)"
        // Detached, and as often as something is mounted there: an interrupted demo may have mounted twice.
        while umount2(path, Int32(MNT_DETACH)) == 0 {}
        guard unlink(path) == 0 || errno == ENOENT else { throw Errno(code: errno, call: "remove \(path)") }
    }

    /// Those whose name begins with `prefix`.
    static func names(prefix: String) -> [String] {
        DirectoryTree.entries(directory).filter { $0.hasPrefix(prefix) }.sorted()
    }

    /// Undoes what the first namespace ever made here brought about; nothing happens while there are others.
    static func removeDirectory() {
        guard names(prefix: "").isEmpty else { return }
        umount2(directory, Int32(MNT_DETACH))
        rmdir(directory)
    }

    /// Shared, so that a namespace removed here is removed in every mount namespace, as ip-netns(8) has it.
    private static func makeDirectory() throws(Errno) {
        if mkdir(directory, 0o755) == 0 {
            // Whatever the process's umask.
            chmod(directory, 0o755)
        } else if errno != EEXIST {
            throw Errno(code: errno, call: "create \(directory)")
        }
        let shared = UInt(MS_SHARED | MS_REC)
        if mount("", directory, "none", shared, nil) == 0 { return }
        // EINVAL: not a mount point yet.
        guard errno == EINVAL, mount(directory, directory, "none", UInt(MS_BIND | MS_REC), nil) == 0,
            mount("", directory, "none", shared, nil) == 0
        else { throw Errno(code: errno, call: "share \(directory)") }
    }
}
