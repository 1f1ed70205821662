import Glibc
import LinuxNetworking

/// Directories, listed and removed whole.
enum DirectoryTree {
    /// Without `.` and `..`; none when there is no such directory.
    static func entries(_ path: String) -> [String] { (try? Directory.entries(path)) ?? [] }

    /// Everything in `path`, but not `path`. Symbolic links are removed, not followed; a file system that an agent mounted there
    /// for its guard goes with what is pinned on it.
    static func empty(_ path: String) throws(Errno) {
        for name in entries(path) {
            let child = "\(path)/\(name)"
            if unlink(child) == 0 || errno == ENOENT { continue }
            guard errno == EISDIR else { throw Errno(code: errno, call: "remove \(child)") }
            if isMountPoint(child, in: path) { umount(child) }
            try empty(child)
            guard rmdir(child) == 0 || errno == ENOENT else { throw Errno(code: errno, call: "remove \(child)") }
        }
    }

    private static func isMountPoint(_ child: String, in path: String) -> Bool {
        var (inner, outer) = (stat(), stat())
        return stat(child, &inner) == 0 && stat(path, &outer) == 0 && inner.st_dev != outer.st_dev
    }
}
