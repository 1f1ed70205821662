import FoundationEssentials

/// Certificates in `certs/fixtures`, named by their flaw.
enum Fixture {
    static func text(_ name: String) throws -> String {
        var directory = URL(filePath: #filePath)
        for _ in 0..<3 { directory.deleteLastPathComponent() }
        let file = directory.appending(path: "certs/fixtures/\(name).pem")
        return String(decoding: try Data(contentsOf: file), as: UTF8.self)
    }
}
