import Glibc

/// The cgroup by which the kernel knows the proxy from the applications whose network namespaces it works in.
enum ProxyCgroup {
    /// Moves this process into a cgroup of the unified hierarchy, made if it is not there.
    static func join(_ directory: String) throws {
        guard mkdir(directory, 0o755) == 0 || errno == EEXIST else { throw failure("cannot be made", directory) }
        let processes = directory + "/cgroup.procs"
        let descriptor = open(processes, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("is not a cgroup", directory) }
        defer { close(descriptor) }
        // 0 is whoever writes it.
        guard write(descriptor, "0", 1) == 1 else { throw failure("takes no process", directory) }
    }

    private static func failure(_ what: String, _ directory: String) -> CommandFailure {
        CommandFailure(
            "--cgroup: \(directory) \(what): \(String(cString: strerror(errno)))",
            hint: "name a directory below the mount point of the cgroup2 file system (see /proc/mounts)")
    }
}
