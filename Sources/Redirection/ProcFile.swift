import Glibc
import LinuxNetworking

/// A file of proc(5) by its lines, without their ends.
func procLines(_ path: String) throws(RedirectionError) -> [String] {
    guard let file = fopen(path, "re") else { throw .kernel(Errno(code: errno, call: "open \(path)")) }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { free(line) }
    var lines: [String] = []
    while getline(&line, &capacity, file) > 0, let line {
        lines.append(String(String(cString: line).prefix { $0 != "\n" }))
    }
    return lines
}
