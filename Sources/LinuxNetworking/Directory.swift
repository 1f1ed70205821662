import Glibc

/// A directory of the file system.
public enum Directory {
    /// The names in it in their order, without `.` and `..`.
    public static func entries(_ path: String) throws(Errno) -> [String] {
        guard let stream = opendir(path) else { throw Errno(code: errno, call: "open directory \(path)") }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
