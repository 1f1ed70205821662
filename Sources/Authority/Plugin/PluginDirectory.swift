internal import Glibc

/// The directory of a plug-in CA: read whole, and watched for the next set.
///
/// Kubernetes replaces a volume by one rename of the symbolic link `..data`, others rename or write the files one by one. The first is
/// read through the directory that the link names at the moment; for the others nothing may change while they are read.
public struct PluginDirectory: Sendable {
    public let path: String
    /// Where the revocation lists are, if not beside the others.
    public let revocations: String?

    public init(path: String, revocations: String? = nil) {
        self.path = path
        self.revocations = revocations
    }

    /// All files of one moment.
    public func read() throws(PluginFlaw) -> PluginFiles {
        let before = PluginStamp(self)
        let files = try contents()
        guard PluginStamp(self) == before else { throw .changing(path) }
        return files
    }

    private func contents() throws(PluginFlaw) -> PluginFiles {
        var directory = open("\(path)/..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if directory < 0 { directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard directory >= 0 else { throw .unreadable(path, reason: String(cString: strerror(errno))) }
        defer { close(directory) }
        let names = PluginFiles.Spelling.istio.required + PluginFiles.Spelling.kubernetes.required
        let present = names.filter { faccessat(directory, $0, F_OK, 0) == 0 }
        let spelling = try PluginFiles.Spelling.of(Set(present), in: path)
        func file(_ name: String, isSecret: Bool = false) throws(PluginFlaw) -> PluginFiles.File {
            .init(name: name, bytes: try Self.bytes(name, in: directory, isSecret: isSecret))
        }
        var files = PluginFiles(
            certificate: try file(spelling.certificate), key: try file(spelling.key, isSecret: true),
            root: try file(spelling.root))
        if let chain = spelling.chain { files.chain = try file(chain) }
        if let revocations {
            files.revocations = .init(name: revocations, bytes: try Self.bytes(revocations, in: AT_FDCWD))
        } else if faccessat(directory, PluginFiles.Spelling.revocations, F_OK, 0) == 0 {
            files.revocations = try file(PluginFiles.Spelling.revocations)
        }
        return files
    }

    private static func bytes(
        _ name: String, in directory: Int32, isSecret: Bool = false
    ) throws(PluginFlaw) -> [UInt8] {
        // Not waiting for a writer, should somebody have put a FIFO here.
        let descriptor = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .unreadable(name, reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw .unreadable(name, reason: "not a regular file")
        }
        // The group may: that is how Kubernetes lets a user who is not root have a secret.
        guard !isSecret || status.st_mode & 0o007 == 0 else { throw .readableByAnybody(name) }
        guard status.st_size <= PluginFiles.bytesMax else { throw .tooLarge(name, bytes: Int(status.st_size)) }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size) + 1)
        var filled = 0
        while filled < bytes.count {
            let count = bytes.withUnsafeMutableBytes {
                readBytes(descriptor, $0.baseAddress! + filled, $0.count - filled)
            }
            guard count >= 0 else { throw .unreadable(name, reason: String(cString: strerror(errno))) }
            if count == 0 { break }
            filled += count
        }
        guard filled < bytes.count else { throw .changing(name) }
        return Array(bytes[..<filled])
    }
}

/// What changes when any of the files does.
struct PluginStamp: Equatable {
    private var stamps: [[Int]] = []

    init(_ directory: PluginDirectory) {
        let names =
            [".", "..data"] + PluginFiles.Spelling.istio.required + PluginFiles.Spelling.kubernetes.required + [
                PluginFiles.Spelling.revocations
            ]
        for path in names.map({ "\(directory.path)/\($0)" }) + (directory.revocations.map { [$0] } ?? []) {
            var status = stat()
            guard stat(path, &status) == 0 else {
                stamps.append([])
                continue
            }
            // Of the directories only which they are: what else lies in them is nobody's business.
            let isDirectory = status.st_mode & S_IFMT == S_IFDIR
            stamps.append(
                [Int(status.st_dev), Int(bitPattern: UInt(status.st_ino))]
                    + (isDirectory
                        ? []
                        : [
                            Int(status.st_mode), Int(status.st_size), Int(status.st_mtim.tv_sec),
                            Int(status.st_mtim.tv_nsec), Int(status.st_ctim.tv_sec), Int(status.st_ctim.tv_nsec),
                        ]))
        }
    }
}

/// `read(2)`, which the struct's own `read` hides.
private func readBytes(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int {
    read(descriptor, buffer, count)
}
