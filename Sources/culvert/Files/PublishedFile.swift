import Glibc

/// Files that others read: complete or absent at any moment.
enum PublishedFile {
    /// Writes beside `path` and renames. `mode` holds whatever the process' umask.
    static func write(_ text: String, to path: String, mode: mode_t) throws(PublishedFileError) {
        try publish(text, as: path, mode) { rename($0, $1) }
    }

    /// The same, where nothing may be at `path` yet.
    static func create(_ text: String, at path: String, mode: mode_t) throws(PublishedFileError) {
        try publish(text, as: path, mode) { link($0, $1) }
    }

    private static func publish(
        _ text: String, as path: String, _ mode: mode_t, _ place: (String, String) -> Int32
    ) throws(PublishedFileError) {
        let draft = "\(path).new"
        unlink(draft)
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { throw PublishedFileError(path: path, code: errno) }
        defer {
            close(descriptor)
            unlink(draft)
        }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard written > 0 else { throw PublishedFileError(path: path, code: errno) }
            rest = rest.dropFirst(written)
        }
        guard fchmod(descriptor, mode) == 0, fsync(descriptor) == 0, place(draft, path) == 0 else {
            throw PublishedFileError(path: path, code: errno)
        }
    }
}

struct PublishedFileError: Error, Sendable, CustomStringConvertible {
    let path: String
    let code: Int32

    var description: String { "cannot write \(path): \(String(cString: strerror(code)))" }
}
