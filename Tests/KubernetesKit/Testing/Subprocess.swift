internal import FoundationEssentials
internal import Glibc
internal import NIOPosix

/// What a program said before it ended.
public struct ProcessOutput: Sendable {
    /// Its exit status; 128 and the signal's number where a signal ended it.
    public let status: Int32
    public let output: String
    public let error: String
    public var succeeded: Bool { status == 0 }

    /// The output as JSON; `null` where it is none.
    public var json: JSON { (try? JSON(parsing: output)) ?? .null }
}

enum Subprocess {
    /// Runs a program to its end, at most `seconds`; its input and output are files, so that nothing can fill up.
    static func run(
        _ words: [String], environment: [String: String], input: String = "", directory: String, seconds: Int = 60
    ) async throws -> ProcessOutput {
        let base = directory + "/" + Registry.uid()
        let files = [base + ".in", base + ".out", base + ".err"]
        try Data(input.utf8).write(to: URL(filePath: files[0]))
        defer { for file in files { unlink(file) } }
        let pid = try spawn(
            ["/usr/bin/timeout", "-s", "KILL", String(seconds)] + words, environment: environment, files: files)
        let status = try await NIOThreadPool.singleton.runIfActive { () -> Int32 in
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0, errno == EINTR {}
            return status
        }
        func text(_ file: String) -> String { (try? String(contentsOfFile: file, encoding: .utf8)) ?? "" }
        return ProcessOutput(
            status: status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F, output: text(files[1]),
            error: text(files[2]))
    }

    private static func spawn(_ words: [String], environment: [String: String], files: [String]) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, files[0], O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, files[1], O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, files[2], O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        var arguments = words.map { strdup($0) } + [nil]
        var variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, words[0], &actions, nil, &arguments, &variables)
        guard result == 0 else {
            throw Refusal.internalError("\(words[0]) cannot be started: \(String(cString: strerror(result)))")
        }
        return pid
    }

    /// A directory of our own below the temporary one.
    static func makeDirectory() throws -> String {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        let path = "\(parent)/kubernetes-kit-\(Registry.uid())"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    static var path: String { getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin" }
}
