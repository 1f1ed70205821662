internal import Glibc
internal import NIOPosix
internal import Synchronization

/// A program that runs beside this process, and ends with it.
public final class ChildProcess: Sendable {
    public let name: String
    public let pid: Int32
    public let log: String?
    private let input: Int32
    private let output: Int32
    private let status = Mutex<Int32?>(nil)

    /// Its standard input is a pipe of ours, and so is the standard output unless there is a `log`, which takes both outputs. A
    /// `culvert` that loses the pipe ends by itself.
    public init(_ words: [String], log: String? = nil) throws {
        name = words.prefix(3).map { $0.split(separator: "/").last.map(String.init) ?? $0 }.joined(separator: " ")
        self.log = log
        var (toChild, fromChild): ([Int32], [Int32]) = ([0, 0], [0, 0])
        guard pipe(&toChild) == 0, pipe(&fromChild) == 0 else { throw Refusal.internalError("no pipe") }
        for end in toChild + fromChild { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, toChild[0], 0)
        if let log {
            posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
        } else {
            posix_spawn_file_actions_adddup2(&actions, fromChild[1], 1)
        }
        // Only now may number 3 be overwritten.
        posix_spawn_file_actions_adddup2(&actions, 0, 3)
        var arguments = words.map { strdup($0) } + [nil]
        var variables = Self.environment.map { strdup($0) } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, words[0], &actions, nil, &arguments, &variables)
        close(toChild[0])
        close(fromChild[1])
        (self.pid, input, output) = (pid, toChild[1], fromChild[0])
        guard result == 0 else {
            throw Refusal.internalError("\(words[0]) cannot be started: \(String(cString: strerror(result)))")
        }
    }

    deinit {
        close(input)
        close(output)
    }

    private static var environment: [String] {
        var variables: [String] = []
        var entry = environ
        while let variable = entry.pointee {
            variables.append(String(cString: variable))
            entry += 1
        }
        return variables + ["CULVERT_PARENT_PIPE=3"]
    }

    /// The next line of its output; nil at the end.
    public func line() async throws -> String? {
        let output = output
        return try await NIOThreadPool.singleton.runIfActive { () -> String? in
            var bytes: [UInt8] = []
            var byte: UInt8 = 0
            while true {
                let count = read(output, &byte, 1)
                if count < 0, errno == EINTR { continue }
                guard count == 1 else { return nil }
                if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
                bytes.append(byte)
            }
        }
    }

    func write(line text: String) -> Bool {
        let bytes = Array((text + "\n").utf8)
        return Glibc.write(input, bytes, bytes.count) == bytes.count
    }

    /// Reaps it when it has ended.
    public var isRunning: Bool {
        status.withLock { known in
            guard known == nil else { return false }
            var status: Int32 = 0
            guard waitpid(pid, &status, WNOHANG) != 0 else { return true }
            known = status
            return false
        }
    }

    /// It ended by itself and found nothing wrong.
    public var succeeded: Bool { !isRunning && status.withLock { $0 == 0 } }

    /// False when it still runs after `limit`.
    public func waitForEnd(atMost limit: Duration) async -> Bool {
        let end = ContinuousClock.now + limit
        while isRunning {
            guard .now < end else { return false }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return true
    }

    /// In good order if it will.
    public func stop() async {
        if isRunning { kill(pid, SIGTERM) }
        guard await !waitForEnd(atMost: .seconds(20)), isRunning else { return }
        kill(pid, SIGKILL)
        _ = await waitForEnd(atMost: .seconds(5))
    }
}
