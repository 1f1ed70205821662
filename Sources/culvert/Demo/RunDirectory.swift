import Glibc
import LinuxNetworking

/// `/run/culvert-demo`: where one demo at a time keeps its files, and writes down what it would leave behind if killed.
final class RunDirectory {
    let path: String
    private let lock: OwnedDescriptor

    /// The directory itself is the lock (flock(2)), which the kernel lets go of with the process that holds it.
    init(path: String = "/run/culvert-demo") throws {
        self.path = path
        while true {
            guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw Errno(code: errno, call: "create \(path)") }
            let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            if descriptor < 0 && errno == ENOENT { continue }
            guard descriptor >= 0 else { throw Errno(code: errno, call: "open \(path)") }
            let lock = OwnedDescriptor(adopting: descriptor)
            guard flock(lock.raw, LOCK_EX | LOCK_NB) == 0 else {
                throw DemoError(
                    "another demo is running",
                    hint: "stop it with Ctrl-C, then start this one again (\(path) is locked)")
            }
            // The former holder may have removed the directory between open and flock.
            if RunDirectory.isRemoved(lock.raw) { continue }
            fchmod(lock.raw, 0o700)
            self.lock = lock
            return
        }
    }

    private static func isRemoved(_ descriptor: Int32) -> Bool {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/fd/\(descriptor)", &buffer, buffer.count)
        // The kernel's mark: proc_pid_fd(5).
        return buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }.suffix(10) == Array(" (deleted)".utf8)[...]
    }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    func makeDirectory(_ name: String) throws(Errno) -> String {
        let directory = file(name)
        guard mkdir(directory, 0o700) == 0 || errno == EEXIST else {
            throw Errno(code: errno, call: "create \(directory)")
        }
        return directory
    }

    /// For the next demo, should this one be killed.
    func note(_ process: ProcessStamp) throws(Errno) {
        try TextFile.write(file("state"), "\(process)\n", append: true)
    }

    /// Before the first namespace is made: whether `/run/netns` was there already is known only now.
    func noteNamespaceDirectory() throws(Errno) {
        if !TextFile.exists(NamedNetworkNamespace.directory) { try TextFile.write(file("netns-made"), "") }
    }

    /// Ends the processes and removes the namespaces and files of a demo that did not get to do it itself.
    /// Returns whether there was anything.
    @discardableResult
    func removeLeftovers(namespacePrefix: String = DemoTopology.prefix) throws -> Bool {
        let stamps = ((try? TextFile.read(file("state"))) ?? "").split(separator: "\n").compactMap {
            ProcessStamp(String($0))
        }
        let running = stamps.filter(\.isRunning)
        for process in running { kill(process.pid, SIGKILL) }
        let end = ContinuousClock.now + .seconds(5)
        while running.contains(where: \.isRunning), .now < end { usleep(5000) }
        let names = NamedNetworkNamespace.names(prefix: namespacePrefix)
        for name in names { try NamedNetworkNamespace.remove(name) }
        DemoCgroups.remove(prefix: namespacePrefix)
        if TextFile.exists(file("netns-made")) { NamedNetworkNamespace.removeDirectory() }
        let hadFiles = !DirectoryTree.entries(path).isEmpty
        try DirectoryTree.empty(path)
        return hadFiles || !names.isEmpty || !running.isEmpty
    }

    /// After `removeLeftovers`; the lock stays until this object goes.
    func remove() { rmdir(path) }
}
