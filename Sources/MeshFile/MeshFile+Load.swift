import Glibc
import Yams

extension MeshFile {
    /// Larger files are refused unread.
    public static let bytesMax = 16 << 20

    /// Reads and checks a file; errors name it as `path` does.
    public static func load(path: String) throws(MeshFileError) -> MeshFile {
        let bytes = try read(path: path)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw MeshFileError(file: path, "expected UTF-8 text, got other bytes")
        }
        return try parse(text: text, name: path)
    }

    /// Checks a mesh file's text. The error carries every problem found, not only the first one, unless the text is not
    /// YAML at all: then there is nothing to look at behind the first.
    public static func parse(text: String, name: String) throws(MeshFileError) -> MeshFile {
        guard text.utf8.count <= bytesMax else {
            throw MeshFileError(file: name, "expected at most \(bytesMax) bytes, got \(text.utf8.count)")
        }
        if let alias = YAMLAlias.first(in: text) {
            // A dozen nested aliases stand for a billion nodes.
            throw MeshFileError(
                file: name, "expected every value written out, got the alias '*\(alias.name)'", line: alias.line,
                column: alias.column)
        }
        var reader = MeshFileReader()
        let file = reader.file(try compose(text, name))
        guard let file, reader.problems.isEmpty else { throw reader.error(file: name) }
        return file
    }

    private static func compose(_ text: String, _ name: String) throws(MeshFileError) -> Node? {
        do {
            // No resolver rules: types are decided by `YAMLValue`, at a fraction of the cost of the regular expressions.
            return try Yams.compose(yaml: text, .basic, .default, .utf8)
        } catch let error as YamlError {
            throw MeshFileError(file: name, error)
        } catch {
            throw MeshFileError(file: name, "expected YAML, got: \(error)")
        }
    }

    private static func read(path: String) throws(MeshFileError) -> [UInt8] {
        func failure(_ code: Int32) -> MeshFileError {
            MeshFileError(file: path, "expected a readable file, got: \(String(cString: strerror(code)))")
        }
        // Opening a FIFO would wait for its writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw failure(errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure(errno) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw MeshFileError(file: path, "expected a regular file, got a directory or device")
        }
        guard status.st_size <= bytesMax else {
            throw MeshFileError(file: path, "expected at most \(bytesMax) bytes, got \(status.st_size)")
        }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        // It may grow while it is read: one byte more than allowed is enough to know.
        while bytes.count <= bytesMax {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure(errno) }
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return bytes
    }
}

extension MeshFileError {
    fileprivate init(file: String, _ error: YamlError) {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            self.init(file: file, "expected YAML, got: \(problem)", line: mark.line, column: mark.column)
        case .duplicatedKeysInMapping(let keys, let context):
            let names = keys.map { "'\($0)'" }.joined(separator: ", ")
            self.init(
                file: file, "expected each key once, got \(names) again", line: context.mark.line,
                column: context.mark.column)
        case .reader(let problem, let offset, _, let yaml):
            let before = yaml.prefix(offset ?? 0)
            let line = before.reduce(1) { $1.isNewline ? $0 + 1 : $0 }
            let column = before.reversed().prefix { !$0.isNewline }.count + 1
            self.init(file: file, "expected YAML, got: \(problem)", line: offset == nil ? 0 : line, column: column)
        default:
            self.init(file: file, "expected YAML, got: \(error)")
        }
    }
}
