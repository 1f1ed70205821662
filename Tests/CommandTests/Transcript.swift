import FoundationEssentials
import Glibc
import Testing

/// Commands with what they print: `$ command`, then standard output, standard error and the exit status.
struct Transcript {
    struct Step {
        let command: String
        let output: String
    }

    let steps: [Step]

    static let fixtures: String = {
        var directory = URL(filePath: #filePath)
        for _ in 0..<3 { directory.deleteLastPathComponent() }
        return directory.appending(path: "certs/fixtures").path()
    }()

    static let binary: String? = {
        if let chosen = getenv("CULVERT_BINARY") { return String(cString: chosen) }
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        guard readlink("/proc/self/exe", &buffer, buffer.count - 1) > 0 else { return nil }
        let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let candidate = URL(filePath: text).deletingLastPathComponent().appending(path: "culvert").path()
        return access(candidate, X_OK) == 0 ? candidate : nil
    }()

    init(steps: [Step]) { self.steps = steps }

    init(named name: String) throws {
        var steps: [(command: String, output: String)] = []
        let text = try String(contentsOfFile: Self.path(name))
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            if line.hasPrefix("$ ") {
                steps.append((String(line.dropFirst(2)), ""))
            } else if !steps.isEmpty {
                steps[steps.count - 1].output += line + "\n"
            }
        }
        self.steps = steps.map { Step(command: $0.command, output: $0.output) }
        try #require(!steps.isEmpty)
    }

    /// Plays the transcript's commands and compares; with `CULVERT_RECORD=1` it is written instead.
    static func check(named name: String) throws {
        let expected = try Transcript(named: name)
        let actual = try expected.played()
        if getenv("CULVERT_RECORD") != nil {
            try actual.write(named: name)
            return
        }
        for (expected, actual) in zip(expected.steps, actual.steps) {
            #expect(actual.output == expected.output, "$ \(expected.command)")
        }
    }

    /// Compares what a script printed; with `CULVERT_RECORD=1` it is written instead.
    static func check(_ text: String, named name: String) throws {
        if getenv("CULVERT_RECORD") != nil {
            return try text.write(toFile: path(name), atomically: true, encoding: .utf8)
        }
        let expected = try String(contentsOfFile: path(name)).split(separator: "\n", omittingEmptySubsequences: false)
        let actual = text.split(separator: "\n", omittingEmptySubsequences: false)
        for (number, (expected, actual)) in zip(expected, actual).enumerated() {
            #expect(actual == expected, "line \(number + 1)")
        }
        #expect(actual.count == expected.count, "\(text)")
    }

    func played() throws -> Transcript {
        Transcript(steps: try steps.map { Step(command: $0.command, output: try Self.run($0.command)) })
    }

    func write(named name: String) throws {
        let text = steps.map { "$ \($0.command)\n\($0.output)" }.joined()
        try text.write(toFile: Self.path(name), atomically: true, encoding: .utf8)
    }

    private static func path(_ name: String) -> String { "\(fixtures)/../transcripts/\(name).txt" }

    /// In the fixtures' directory, by the shell; standard error after standard output.
    static func run(_ command: String) throws -> String {
        let directory = URL(filePath: try #require(binary)).deletingLastPathComponent().path()
        let script =
            "cd '\(fixtures)' && export COLUMNS=80 PATH='\(directory)':\"$PATH\" && { \(command); } 2>&1; echo exit $?"
        let stream = try #require(popen(script, "r"))
        defer { pclose(stream) }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, stream)
            guard count > 0 else { return String(decoding: output, as: UTF8.self) }
            output += buffer[..<count]
        }
    }
}

extension String {
    init(contentsOfFile path: String) throws {
        self.init(decoding: try Data(contentsOf: URL(filePath: path)), as: UTF8.self)
    }
}
