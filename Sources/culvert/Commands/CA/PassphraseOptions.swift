import ArgumentParser
import Glibc

/// How a passphrase gets in: from a file, or from the terminal without being shown. Never as an argument, which everybody can see.
struct PassphraseOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The passphrase, on the first line; without it the terminal is asked.", valueName: "file"))
    var passphraseFile: String?

    func read(confirm: Bool) throws -> [UInt8] {
        guard let passphraseFile else { return try asked(confirm: confirm) }
        let text: String
        do { text = try TextFile.read(passphraseFile) } catch { throw CommandFailure("--passphrase-file: \(error)") }
        let line = Array(text.utf8.prefix { $0 != 0x0a && $0 != 0x0d })
        guard !line.isEmpty else { throw CommandFailure("--passphrase-file: \(passphraseFile) has no first line") }
        return line
    }

    private func asked(confirm: Bool) throws -> [UInt8] {
        let terminal = open("/dev/tty", O_RDWR | O_CLOEXEC)
        guard terminal >= 0 else {
            throw CommandFailure("there is no terminal to ask for the passphrase", hint: "give --passphrase-file")
        }
        defer { close(terminal) }
        let first = try line("Passphrase: ", from: terminal)
        if confirm, try line("Once more: ", from: terminal) != first { throw CommandFailure("the two differ") }
        return first
    }

    private func line(_ question: String, from terminal: Int32) throws -> [UInt8] {
        var before = termios()
        guard tcgetattr(terminal, &before) == 0 else { throw CommandFailure("the terminal cannot be asked") }
        var quiet = before
        // Ctrl-C comes as a byte: the terminal must not stay as it is now.
        quiet.c_lflag &= ~tcflag_t(ECHO | ISIG)
        tcsetattr(terminal, TCSAFLUSH, &quiet)
        defer {
            tcsetattr(terminal, TCSAFLUSH, &before)
            _ = Glibc.write(terminal, "\n", 1)
        }
        _ = Array(question.utf8).withUnsafeBytes { Glibc.write(terminal, $0.baseAddress, $0.count) }
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while Glibc.read(terminal, &byte, 1) == 1, byte != 0x0a, line.count < 1024 {
            guard byte != 0x03 else { throw CommandFailure("given up") }
            line.append(byte)
        }
        return line
    }
}

/// Backups are written once, whole, for their owner alone; and read whole, up to a bound.
enum BackupFile {
    static func write(_ bytes: [UInt8], to path: String) throws {
        guard path != "-" else { return try write(bytes, to: STDOUT_FILENO, "standard output") }
        let draft = "\(path).new"
        unlink(draft)
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure(path) }
        defer {
            close(descriptor)
            unlink(draft)
        }
        try write(bytes, to: descriptor, path)
        guard fsync(descriptor) == 0, link(draft, path) == 0 else { throw failure(path) }
    }

    static func read(_ path: String) throws -> [UInt8] {
        let descriptor = path == "-" ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CommandFailure("cannot read \(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while bytes.count <= (1 << 30) + (1 << 20) {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw CommandFailure("cannot read \(path): \(String(cString: strerror(errno)))") }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
        }
        throw CommandFailure("\(path) is too large for a backup")
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32, _ name: String) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard written > 0 else { throw failure(name) }
            rest = rest.dropFirst(written)
        }
    }

    private static func failure(_ path: String) -> CommandFailure {
        CommandFailure("cannot write \(path): \(String(cString: strerror(errno)))")
    }
}
