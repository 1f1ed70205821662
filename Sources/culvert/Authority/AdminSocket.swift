import Glibc

/// The path of the authority's admin socket: made ready for a server, explained to a client.
enum AdminSocket {
    static let defaultPath = "/run/culvert/ca.sock"

    /// Removes what a server that was killed has left behind; never a socket that is being served, nor anything but a socket.
    static func clear(_ path: String) throws(CommandFailure) {
        guard try check(path) else { return }
        guard !isServed(path) else {
            throw CommandFailure(
                "another authority serves \(path)", hint: "stop it, or pass another --admin-socket")
        }
        unlink(path)
    }

    /// Whether there is a socket already; throws if none can be there.
    @discardableResult
    static func check(_ path: String) throws(CommandFailure) -> Bool {
        guard path.utf8.count < 108 else {
            throw CommandFailure("\(path) is too long for a Unix socket", hint: "pass a shorter --admin-socket")
        }
        var status = stat()
        guard lstat(path, &status) == 0 else { return false }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw CommandFailure("\(path) exists and is no socket", hint: "remove it, or pass another --admin-socket")
        }
        return true
    }

    static func isServed(_ path: String) -> Bool {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return true }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { buffer in
            buffer.copyBytes(from: path.utf8.prefix(buffer.count - 1))
        }
        let connected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        return connected == 0 || (errno != ECONNREFUSED && errno != ENOENT)
    }
}
