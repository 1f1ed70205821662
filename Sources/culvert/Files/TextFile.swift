import Glibc
import LinuxNetworking

/// Small files, read and written whole.
enum TextFile {
    static func read(_ path: String) throws(Errno) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Errno(code: errno, call: "open \(path)") }
        let file = OwnedDescriptor(adopting: descriptor)
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(file.raw, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw Errno(code: errno, call: "read \(path)") }
            guard count > 0 else { return String(decoding: content, as: UTF8.self) }
            content += buffer[..<count]
        }
    }

    static func write(_ path: String, _ text: String, append: Bool = false) throws(Errno) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0o600)
        guard descriptor >= 0 else { throw Errno(code: errno, call: "create \(path)") }
        let file = OwnedDescriptor(adopting: descriptor)
        try write(text, to: file.raw, path)
    }

    /// `name` says in an error what the descriptor is.
    static func write(_ text: String, to descriptor: Int32, _ name: String) throws(Errno) {
        var left = Array(text.utf8)[...]
        while !left.isEmpty {
            let count = left.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw Errno(code: errno, call: "write \(name)") }
            left = left.dropFirst(count)
        }
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
}
