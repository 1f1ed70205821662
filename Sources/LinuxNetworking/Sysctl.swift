import CLinux
import Glibc

/// Kernel settings below `/proc/sys`; those below `net` are of the calling thread's network namespace.
public enum Sysctl {
    /// `name` as in `net/ipv4/tcp_timestamps`; the value without its line end. ENOENT when the kernel has no such setting.
    public static func read(_ name: String) throws(Errno) -> String {
        let file = try open(name, O_RDONLY)
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(file.raw, &bytes, bytes.count)
        guard count >= 0 else { throw Errno(code: errno, call: "read sysctl \(name)") }
        return String(decoding: bytes.prefix(count).prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    public static func write(_ name: String, _ value: String) throws(Errno) {
        let file = try open(name, O_WRONLY)
        let bytes = Array(value.utf8)
        guard Glibc.write(file.raw, bytes, bytes.count) == bytes.count else {
            throw Errno(code: errno, call: "write sysctl \(name) = \(value)")
        }
    }

    private static func open(_ name: String, _ flags: Int32) throws(Errno) -> OwnedDescriptor {
        var result = clinux_open("/proc/sys/" + name, flags, 0)
        // Containers have it read-only, whatever they may do in a network namespace.
        if result == -EROFS, ownProc >= 0 { result = clinux_open_below(ownProc, "sys/" + name, flags) }
        return OwnedDescriptor(adopting: try checked(result, "open sysctl \(name)"))
    }

    /// Open as long as the process lives; negative where the kernel does not give it.
    private static let ownProc = clinux_proc()
}
