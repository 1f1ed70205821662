import Glibc

/// A file that is either the old or the new one, also after a power cut.
struct RecordFile {
    let path: String
    private let directory: String

    /// `name` holds no slash.
    init(directory: String, name: String) {
        self.directory = directory
        path = directory + "/" + name
    }

    /// `nil` when there is no such file.
    func read() throws(RedirectionError) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw failure("cannot be opened")
        }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw failure("cannot be read") }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    /// On the disk when this returns. Makes the directory, for its owner only, if it is missing.
    func write(_ text: String) throws(RedirectionError) {
        guard mkdir(directory, 0o700) == 0 || errno == EEXIST else { throw failure("directory cannot be made") }
        let draft = path + ".new"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("cannot be made") }
        let bytes = Array(text.utf8)
        let isWritten = Glibc.write(descriptor, bytes, bytes.count) == bytes.count && fsync(descriptor) == 0
        let problem = failure("cannot be written")
        close(descriptor)
        guard isWritten else { throw problem }
        guard rename(draft, path) == 0 else { throw failure("cannot be renamed") }
        try synchronizeDirectory()
    }

    /// Nothing happens when there is no such file.
    func remove() throws(RedirectionError) {
        unlink(path + ".new")
        guard unlink(path) == 0 || errno == ENOENT else { throw failure("cannot be removed") }
        try synchronizeDirectory()
    }

    private func synchronizeDirectory() throws(RedirectionError) {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return }
            throw failure("directory cannot be opened")
        }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("directory cannot be synchronized") }
    }

    /// To be called before anything changes errno.
    private func failure(_ what: String) -> RedirectionError {
        let reason = strerror(errno).map { String(cString: $0) } ?? "errno \(errno)"
        return .record(path: path, reason: "\(what): \(reason)")
    }
}
