import Glibc

/// Small files that are always whole: written beside their place and renamed.
enum SmallFile {
    struct Problem: Error, Hashable, CustomStringConvertible {
        let code: Int32
        let call: String
        var description: String { "\(call): \(String(cString: strerror(code)))" }
    }

    /// nil when there is none, or it has more than `bytesMax`.
    static func read(_ path: String, bytesMax: Int) throws(Problem) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        if descriptor < 0, errno == ENOENT || errno == ENOTDIR { return nil }
        guard descriptor >= 0 else { throw Problem(code: errno, call: "open \(path)") }
        defer { close(descriptor) }
        var status = stat()
        let size = fstat(descriptor, &status) == 0 ? Int(status.st_size) : 0
        var bytes = [UInt8](repeating: 0, count: min(max(size, 4096), bytesMax) + 1)
        var filled = 0
        while filled <= bytesMax {
            // It has grown meanwhile, or is one that does not say its size.
            if filled == bytes.count { bytes += [UInt8](repeating: 0, count: min(filled, bytesMax + 1 - filled)) }
            let count = bytes.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress! + filled, $0.count - filled)
            }
            guard count >= 0 else { throw Problem(code: errno, call: "read \(path)") }
            if count == 0 { break }
            filled += count
        }
        return filled > bytesMax ? nil : Array(bytes[..<filled])
    }

    /// In the place of what is there. `isDurable` waits for the disk: of what is to be there after a power failure.
    static func write(
        _ bytes: [UInt8], to path: String, mode: mode_t, owner: (uid_t, gid_t)? = nil, isDurable: Bool = false
    ) throws(Problem) {
        guard let slash = path.lastIndex(of: "/") else { throw Problem(code: EINVAL, call: "write \(path)") }
        // Not with an extension that a runtime would take for a configuration's.
        let draft = "\(path[...slash]).culvert-\(getpid())-\(path[path.index(after: slash)...])~"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw Problem(code: errno, call: "make \(draft)") }
        defer {
            close(descriptor)
            unlink(draft)
        }
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written) }
            guard count > 0 else { throw Problem(code: errno, call: "write \(draft)") }
            written += count
        }
        if let owner, fchown(descriptor, owner.0, owner.1) != 0 {
            throw Problem(code: errno, call: "give \(draft) its owner")
        }
        guard fchmod(descriptor, mode) == 0 else { throw Problem(code: errno, call: "give \(draft) its mode") }
        guard !isDurable || fsync(descriptor) == 0 else { throw Problem(code: errno, call: "sync \(draft)") }
        guard rename(draft, path) == 0 else { throw Problem(code: errno, call: "rename \(draft)") }
        if isDurable { sync(directory: String(path[..<slash])) }
    }

    /// So that a rename in it lasts.
    static func sync(directory: String) {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }

    /// Sorted; empty when there is no such directory.
    static func names(_ directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
