import Glibc
import LinuxNetworking

/// One process of the demo: this same executable unless another is named, with other arguments, in a network namespace of its own.
///
/// It ends with the demo whatever happens to that (`ParentDeath`). For one thread at a time.
final class DemoProcess {
    let name: String
    let stamp: ProcessStamp
    let logPath: String?
    private var status: Int32?

    /// Standard output and error go to `logPath`, appended; standard output to `output` if given.
    init(
        _ name: String, executable: String = ownExecutable, arguments: [String], in namespace: NetworkNamespace?,
        logPath: String?, output: Int32? = nil, parent: ParentPipe
    ) throws {
        self.name = name
        self.logPath = logPath
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, logPath ?? "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, output ?? 2, 1)
        posix_spawn_file_actions_adddup2(&actions, parent.readEnd.raw, DemoProcess.pipeDescriptor)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A group of its own: Ctrl-C in the terminal is for the demo, which then stops its processes in order.
        posix_spawnattr_setpgroup(&attributes, 0)
        var (none, all) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        posix_spawnattr_setflags(&attributes, Int16(flags))

        var environment = DemoProcess.environment()
        environment.append("\(ParentDeath.variable)=\(DemoProcess.pipeDescriptor)")
        let pid = try DemoProcess.withStrings(["culvert"] + arguments) { argv in
            try DemoProcess.withStrings(environment) { envp in
                var pid: pid_t = 0
                // The child begins in the namespace of the thread that makes it.
                let spawn = { posix_spawn(&pid, executable, &actions, &attributes, argv, envp) }
                let result = try namespace?.run(spawn) ?? spawn()
                guard result == 0 else { throw Errno(code: result, call: "start \(name)") }
                return pid
            }
        }
        // A child that has not been waited for keeps its number, and its entry in /proc.
        guard let stamp = ProcessStamp(running: pid) else { throw DemoError("\(name) cannot be seen in /proc") }
        self.stamp = stamp
    }

    /// Reaps it when it has ended.
    var isRunning: Bool {
        guard status == nil else { return false }
        var status: Int32 = 0
        guard waitpid(stamp.pid, &status, WNOHANG) != 0 else { return true }
        self.status = status
        return false
    }

    /// For people; `nil` while it runs.
    var ending: String? {
        guard !isRunning, let status else { return nil }
        let signal = status & 0x7f
        return signal == 0 ? "exited with code \(status >> 8 & 0xff)" : "was ended by signal \(signal)"
    }

    /// It ended of its own will and found nothing wrong.
    var succeeded: Bool { !isRunning && status == 0 }

    /// False when it still runs after `limit`.
    func waitForEnd(atMost limit: Duration) -> Bool {
        let end = ContinuousClock.now + limit
        while isRunning {
            guard .now < end else { return false }
            usleep(5000)
        }
        return true
    }

    func signal(_ signal: Int32) {
        // Not to a number that was reaped: it may be another's by now.
        if isRunning { kill(stamp.pid, signal) }
    }

    func kill() {
        signal(SIGKILL)
        _ = waitForEnd(atMost: .seconds(5))
    }

    private func kill(_ pid: pid_t, _ signal: Int32) { _ = Glibc.kill(pid, signal) }

    var logTail: String? {
        guard let logPath, let text = try? TextFile.read(logPath), !text.isEmpty else { return nil }
        return text.split(separator: "\n").suffix(20).joined(separator: "\n")
    }

    static let ownExecutable = "/proc/self/exe"

    private static let pipeDescriptor: Int32 = 3

    private static func environment() -> [String] {
        var variables: [String] = []
        var entry = environ
        while let variable = entry.pointee {
            variables.append(String(cString: variable))
            entry += 1
        }
        return variables.filter { !$0.hasPrefix(ParentDeath.variable + "=") }
    }

    private static func withStrings<R>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) throws -> R
    ) rethrows -> R {
        let copies = strings.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        return try body(copies + [nil])
    }
}
