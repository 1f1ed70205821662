import CLinux
import Glibc

/// A program that is run to its end: no shell, no inherited environment.
public enum ChildProcess {
    public struct Output: Equatable, Sendable {
        /// 0 for success; 128 and more for the signal that ended it.
        public let status: Int32
        public let output: String
        public let errors: String
    }

    /// Of each output; what goes beyond is not read.
    public static let outputBytesMax = 4 << 20

    /// Blocks until the program at `path` has ended, in the calling thread's network namespace; killed, with ETIMEDOUT,
    /// after `timeout`. ENOENT when there is no such program.
    public static func run(
        _ path: String, _ arguments: [String], input: String = "", timeout: Duration
    ) throws(Errno) -> Output {
        // Files rather than pipes: nobody blocks on them, and no signal comes from a reader that has died.
        let (stdin, stdout, stderr) = (try MemoryFile(), try MemoryFile(), try MemoryFile())
        try stdin.write(input)
        var pid: pid_t = 0
        let result = withArguments([path] + arguments) { argv in
            clinux_spawn(path, argv, stdin.descriptor.raw, stdout.descriptor.raw, stderr.descriptor.raw, &pid)
        }
        try checked(result, "run \(path)")
        let (seconds, attoseconds) = timeout.components
        let milliseconds = Int32(clamping: seconds * 1000 + attoseconds / 1_000_000_000_000_000)
        let status = try checked(clinux_await_child(pid, milliseconds), "run \(path)")
        return Output(status: status, output: stdout.text, errors: stderr.text)
    }

    private static func withArguments(
        _ arguments: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Int32
    ) -> Int32 {
        let copies = arguments.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        return (copies + [nil]).withUnsafeBufferPointer { body($0.baseAddress!) }
    }
}

/// A file that exists in memory only.
private final class MemoryFile {
    let descriptor: OwnedDescriptor

    init() throws(Errno) {
        descriptor = OwnedDescriptor(adopting: try checked(clinux_memory_file("culvert"), "make memory file"))
    }

    /// Leaves the position at the start.
    func write(_ text: String) throws(Errno) {
        let bytes = Array(text.utf8)
        guard pwrite(descriptor.raw, bytes, bytes.count, 0) == bytes.count else {
            throw Errno(code: errno, call: "write memory file")
        }
    }

    var text: String {
        let size = min(max(0, Int(lseek(descriptor.raw, 0, SEEK_END))), ChildProcess.outputBytesMax)
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            count = max(0, pread(descriptor.raw, buffer.baseAddress, size, 0))
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
