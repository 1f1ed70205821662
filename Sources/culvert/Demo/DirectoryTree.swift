import Glibc
import LinuxNetworking

/// Directories, listed and removed whole.
enum DirectoryTree {
    /// Without `.` and `..`; none when there is no such directory.
    static func entries(_ path: String) -> [String] {
        guard let stream = opendir(path) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    /// Everything in `path`, but not `path`. Symbolic links are removed, not followed.
    static func empty(_ path: String) throws(Errno) {
        for name in entries(path) {
            let child = "\(path)/\(name)"
            if unlink(child) == 0 || errno == ENOENT { continue }
            guard errno == EISDIR else { throw Errno(code: errno, call: "remove \(child)") }
            try empty(child)
            guard rmdir(child) == 0 || errno == ENOENT else { throw Errno(code: errno, call: "remove \(child)") }
        }
    }
}
