import Glibc
import Synchronization

/// The plugin in a node's own directories: its executable, and its place in the network configuration that the runtime reads.
///
/// That belongs to another network plugin, which may write it anew at any time: `install` is to be repeated.
public struct CNIInstallation: Sendable {
    public enum Outcome: Hashable, Sendable {
        /// Everything was there.
        case unchanged
        /// It is in this file now.
        case installed(String)
        /// The node's network plugin has not written its own yet.
        case waiting
    }

    /// As the runtime looks for them; the first one in the order of bytes is the node's.
    private static let extensions = [".conf", ".conflist", ".json"]
    /// What a file gets behind its name that was wrapped into a list: no runtime reads it there.
    private static let wrapped = ".culvert-wrapped"
    private static let configurationMax = 1 << 20

    public let configurationDirectory: String
    public let binaryDirectory: String
    public let executable: String
    public let settings: PluginSettings
    private let comparison = Comparison()

    /// `executable` is what is copied: a program that needs no shared libraries, as the node may not have them.
    public init(
        configurationDirectory: String, binaryDirectory: String, executable: String, settings: PluginSettings
    ) {
        self.configurationDirectory = configurationDirectory
        self.binaryDirectory = binaryDirectory
        self.executable = executable
        self.settings = settings
    }

    private var binary: String { binaryDirectory + "/" + PluginSettings.type }

    // MARK: - Installing

    /// First the executable: a configuration that names one that is not there lets no pod start.
    public func install() throws -> Outcome {
        let isCopied = try copyExecutable()
        guard let name = files().first else { return .waiting }
        let isChanged = name.hasSuffix(".conflist") ? try append(to: name) : try wrap(name)
        return isChanged || isCopied ? .installed(configurationDirectory + "/" + name) : .unchanged
    }

    private func append(to name: String) throws -> Bool {
        let path = configurationDirectory + "/" + name
        let (bytes, status) = try read(path)
        guard let edited = try named(path, { () throws(Conflist.Problem) in try Conflist.adding(settings, to: bytes) })
        else { return false }
        try replace(path, status, by: edited)
        return true
    }

    /// Of the list and the plugin's own file the runtime would take the latter: it is put aside when the list is there.
    private func wrap(_ name: String) throws -> Bool {
        let path = configurationDirectory + "/" + name
        let (bytes, status) = try read(path)
        let edited = try named(path) { () throws(Conflist.Problem) in try Conflist.wrapping(bytes, settings) }
        try SmallFile.write(
            edited, to: configurationDirectory + "/" + list(for: name), mode: status.st_mode & 0o7777,
            owner: (status.st_uid, status.st_gid), isDurable: true)
        guard rename(path, path + Self.wrapped) == 0 else {
            throw SmallFile.Problem(code: errno, call: "rename \(path)")
        }
        SmallFile.sync(directory: configurationDirectory)
        return true
    }

    private func list(for name: String) -> String {
        let stem = Self.extensions.first { name.hasSuffix($0) }.map { name.dropLast($0.count) } ?? name[...]
        return stem + ".conflist"
    }

    /// False when it is there already, byte for byte.
    private func copyExecutable() throws -> Bool {
        let marks = [Mark(executable), Mark(binary)]
        if !marks.contains(nil), comparison.same.withLock({ $0 == marks }) { return false }
        let source = try contents(executable)
        if let present = try? contents(binary), present == source {
            comparison.same.withLock { $0 = marks }
            return false
        }
        try SmallFile.write(source, to: binary, mode: 0o755, isDurable: true)
        return true
    }

    /// The two executables as they were when they were compared: they are large, and looked at twice a second.
    private final class Comparison: Sendable {
        let same = Mutex<[Mark?]>([])
    }

    /// What no write to a file leaves as it was.
    private struct Mark: Equatable {
        private let numbers: [Int]

        init?(_ path: String) {
            var status = stat()
            guard stat(path, &status) == 0 else { return nil }
            numbers = [
                Int(bitPattern: UInt(status.st_dev)), Int(bitPattern: UInt(status.st_ino)), Int(status.st_size),
                status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
            ]
        }
    }

    private func contents(_ path: String) throws -> [UInt8] {
        guard let bytes = try SmallFile.read(path, bytesMax: 256 << 20) else {
            throw SmallFile.Problem(code: ENOENT, call: "read \(path)")
        }
        return bytes
    }

    // MARK: - Uninstalling

    /// Whatever of the plugin's own is in any configuration there, and then the executable. May be repeated.
    ///
    /// Answers what was changed.
    public func uninstall() throws -> [String] {
        var changed: [String] = []
        for name in SmallFile.names(configurationDirectory) where name.hasSuffix(Self.wrapped) {
            changed.append(try unwrap(String(name.dropLast(Self.wrapped.count))))
        }
        for name in files() where name.hasSuffix(".conflist") {
            let path = configurationDirectory + "/" + name
            let (bytes, status) = try read(path)
            // One that is no list is not what we have left.
            guard let edited = try? Conflist.removing(from: bytes) else { continue }
            try replace(path, status, by: edited)
            changed.append(path)
        }
        if unlink(binary) == 0 { changed.append(binary) }
        return changed
    }

    /// First the plugin's own file is back, then the list goes.
    private func unwrap(_ name: String) throws -> String {
        let path = configurationDirectory + "/" + name
        // Written anew meanwhile, it is the newer one.
        let result =
            access(path, F_OK) == 0
            ? unlink(path + Self.wrapped) : rename(path + Self.wrapped, path)
        guard result == 0 else { throw SmallFile.Problem(code: errno, call: "put back \(path)") }
        let list = configurationDirectory + "/" + list(for: name)
        guard unlink(list) == 0 || errno == ENOENT else { throw SmallFile.Problem(code: errno, call: "remove \(list)") }
        SmallFile.sync(directory: configurationDirectory)
        return path
    }

    // MARK: - Files

    private func files() -> [String] {
        SmallFile.names(configurationDirectory).filter { name in
            !name.hasPrefix(".") && Self.extensions.contains { name.hasSuffix($0) }
        }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private func read(_ path: String) throws(SmallFile.Problem) -> ([UInt8], stat) {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw SmallFile.Problem(code: errno, call: "look at \(path)") }
        guard let bytes = try SmallFile.read(path, bytesMax: Self.configurationMax) else {
            throw SmallFile.Problem(code: EFBIG, call: "read \(path)")
        }
        return (bytes, status)
    }

    /// Not what its owner has written since it was read.
    private func replace(_ path: String, _ before: stat, by bytes: [UInt8]) throws(SmallFile.Problem) {
        var now = stat()
        guard lstat(path, &now) == 0, now.st_ino == before.st_ino, now.st_size == before.st_size,
            now.st_mtim.tv_sec == before.st_mtim.tv_sec, now.st_mtim.tv_nsec == before.st_mtim.tv_nsec
        else { throw SmallFile.Problem(code: EAGAIN, call: "\(path) was written anew") }
        try SmallFile.write(
            bytes, to: path, mode: before.st_mode & 0o7777, owner: (before.st_uid, before.st_gid), isDurable: true)
    }

    private func named<R>(_ path: String, _ body: () throws(Conflist.Problem) -> R) throws(Conflist.Problem) -> R {
        do throws(Conflist.Problem) { return try body() } catch { throw Conflist.Problem("\(path): \(error)") }
    }
}
