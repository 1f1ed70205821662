import CLinux
import Glibc

/// From where a process looks at the cgroups (cgroup_namespaces(7)): in a container's own namespace the paths of processes outside it, and
/// mounts of the whole hierarchy, cannot be told.
public enum CgroupNamespace {
    /// PROC_CGROUP_INIT_INO.
    private static let first: ino_t = 0xefff_fffb

    /// This process is in the one that the machine started with.
    public static var isFirst: Bool { inode(own) == first }

    private static let own = "/proc/self/ns/cgroup"

    private static func inode(_ path: String) -> ino_t? {
        var namespace = stat()
        return stat(path, &namespace) == 0 ? namespace.st_ino : nil
    }

    /// Begins this process anew, with the same words, in the namespace of the node's first process: a thread of one that runs could not take
    /// the others along. That is the machine's first namespace, or that of a container which is the node (as kind has them). Returns where it is
    /// in that already, or where that cannot be seen (the container has no hostPID).
    ///
    /// To be called before anything is open that is to be closed, or done that is to be undone.
    public static func startInNodes() throws(Errno) {
        let path = "/proc/1/ns/cgroup"
        guard let node = inode(path), node != inode(own) else { return }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Errno(code: errno, call: "open \(path)") }
        let namespace = OwnedDescriptor(adopting: descriptor)
        try checked(clinux_setns_cgroup(namespace.raw), "enter the node's cgroup namespace")
        execv("/proc/self/exe", CommandLine.unsafeArgv)
        throw Errno(code: errno, call: "start anew")
    }
}
