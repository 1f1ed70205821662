import Glibc

/// Small files of credentials.
enum LocalFile {
    static let bytesMax = 4 << 20

    /// What a file was when it was read: another answer means that it has been replaced or written.
    struct Version: Equatable {
        let device: UInt64
        let inode: UInt64
        let size: Int64
        let seconds: Int
        let nanoseconds: Int
    }

    /// Through symbolic links: a projected volume is replaced by swapping one. Nil where there is no such file.
    static func version(_ path: String) -> Version? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Version(
            device: UInt64(status.st_dev), inode: UInt64(status.st_ino), size: Int64(status.st_size),
            seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec)
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    static func bytes(_ path: String) throws(ClusterConfigurationError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw .unreadable(path: path, reason: String(cString: strerror(errno)))
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .unreadable(path: path, reason: String(cString: strerror(errno))) }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= bytesMax else { throw .unreadable(path: path, reason: "it is too large") }
        }
    }

    /// UTF-8, without white space at its ends.
    static func text(_ path: String) throws(ClusterConfigurationError) -> String {
        guard let text = String(validating: try bytes(path), as: UTF8.self) else {
            throw .malformed(path: path, reason: "it is not UTF-8")
        }
        return String(text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
    }
}
