import Glibc
import LinuxNetworking

/// The unified hierarchy of cgroups (cgroups(7)).
public enum Cgroup {
    /// Where it is mounted, whole.
    public static func root() throws(RedirectionError) -> String {
        guard let file = fopen("/proc/self/mountinfo", "re") else {
            throw .kernel(Errno(code: errno, call: "open /proc/self/mountinfo"))
        }
        defer { fclose(file) }
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(line) }
        while getline(&line, &capacity, file) > 0, let line {
            if let path = mountPoint(String(cString: line)) { return path }
        }
        throw .noCgroups("the unified hierarchy of cgroups is not mounted")
    }

    /// Of a line of mountinfo (proc(5)): `36 35 98:0 /root /mount/point options - type source options`.
    static func mountPoint(_ line: String) -> String? {
        let fields = line.split(separator: " ")
        guard let separator = fields.firstIndex(of: "-"), fields.count > separator + 1, fields.count > 4,
            fields[separator + 1] == "cgroup2", fields[3] == "/"
        else { return nil }
        return String(fields[4])
    }

    /// Where a process is, below the mount point; nil when it is gone, or not to be seen from here.
    static func path(of pid: Int32) throws(RedirectionError) -> String? {
        guard pid > 0, let file = fopen("/proc/\(pid)/cgroup", "re") else { return nil }
        defer { fclose(file) }
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(line) }
        while getline(&line, &capacity, file) > 0, let line {
            let text = String(cString: line)
            guard text.hasPrefix("0::") else { continue }
            return try root() + text.dropFirst(3).prefix { $0 != "\n" }
        }
        return nil
    }

    /// Why a process is not in the proxy's cgroup: what it connects would be led to itself for ever.
    static func obstacle(toProxy pid: Int32, in directory: String, identifier: UInt64) -> String? {
        let path: String?
        do throws(RedirectionError) {
            path = try Cgroup.path(of: pid)
            if let path, try Cgroup.identifier(of: path) == identifier { return nil }
        } catch {
            return "its cgroup cannot be read: \(error)"
        }
        let place = path.map { "is in cgroup \($0)" } ?? "has no cgroup that can be seen from here (hostPID is needed)"
        return
            "the proxy, process \(pid), \(place), not in \(directory), where connections are not captured: start it with "
            + "`culvert proxy run --cgroup \(directory)`, or give its cgroup to the agent by --proxy-cgroup"
    }

    static func open(_ path: String) throws(RedirectionError) -> OwnedDescriptor {
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .kernel(Errno(code: errno, call: "open \(path)")) }
        return OwnedDescriptor(adopting: descriptor)
    }

    /// As programs see it: the directory's inode.
    static func identifier(of path: String) throws(RedirectionError) -> UInt64 {
        var status = stat()
        guard stat(path, &status) == 0 else { throw .kernel(Errno(code: errno, call: "look at cgroup \(path)")) }
        return UInt64(status.st_ino)
    }
}
