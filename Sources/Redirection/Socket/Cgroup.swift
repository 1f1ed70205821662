import Glibc
import LinuxNetworking

/// The unified hierarchy of cgroups (cgroups(7)).
public enum Cgroup {
    /// Where it is mounted, whole.
    public static func root() throws(RedirectionError) -> String {
        for line in try procLines("/proc/self/mountinfo") {
            if let path = mountPoint(line) { return path }
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
        guard pid > 0, let place = place(of: pid) else { return nil }
        return try root() + place
    }

    /// The same below the root of the hierarchy.
    static func place(of pid: Int32) -> String? {
        let line = (try? procLines("/proc/\(pid)/cgroup"))?.first { $0.hasPrefix("0::") }
        return line.map { String($0.dropFirst(3)) }
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

    /// Those in the cgroup itself, not below it.
    static func processes(in path: String) throws(RedirectionError) -> [Int32] {
        try procLines(path + "/cgroup.procs").compactMap { Int32($0) }
    }

    /// Of all cgroups of the machine that are below its root.
    static func identifiers(below root: String) throws(RedirectionError) -> Set<UInt64> {
        var found: Set<UInt64> = []
        var open = [root]
        while let path = open.popLast() {
            // One that goes meanwhile has nobody in it.
            for name in (try? Directory.entries(path)) ?? [] {
                var status = stat()
                let below = path + "/" + name
                guard lstat(below, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { continue }
                found.insert(UInt64(status.st_ino))
                open.append(below)
            }
        }
        return found
    }

    static func open(_ path: String) throws(RedirectionError) -> OwnedDescriptor {
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .kernel(Errno(code: errno, call: "open \(path)")) }
        return OwnedDescriptor(adopting: descriptor)
    }

    /// Of one that has only a part of the machine in it; nil for the root, and for what is not below it.
    static func identifier(below root: String, of path: String) throws(RedirectionError) -> UInt64? {
        let found = try identifier(of: path)
        return found != (try identifier(of: root)) && path.hasPrefix(root + "/") ? found : nil
    }

    /// As programs see it: the directory's inode.
    static func identifier(of path: String) throws(RedirectionError) -> UInt64 {
        var status = stat()
        guard stat(path, &status) == 0 else { throw .kernel(Errno(code: errno, call: "look at cgroup \(path)")) }
        return UInt64(status.st_ino)
    }
}
