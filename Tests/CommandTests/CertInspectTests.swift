import FoundationEssentials
import Glibc
import Testing

/// Runs the built `culvert` as a user does, and compares what it prints with `certs/transcripts`.
///
/// With `CULVERT_RECORD=1` the transcripts are written instead: read the difference before committing it.
@Suite(
    "culvert cert inspect", .enabled(if: Transcript.binary != nil, "no culvert beside the tests, nor in CULVERT_BINARY")
)
struct CertInspectTests {
    @Test("prints what its transcript says", arguments: ["text", "short", "json", "pem", "verification", "problems"])
    func transcript(name: String) throws {
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

    @Test("never prints a private key", arguments: ["text", "short", "json", "pem"])
    func privateKey(format: String) throws {
        let file = "svid-with-a-private-key.pem"
        let output = try Transcript.run("culvert cert inspect --bundle --format \(format) \(file)")
        #expect(!output.contains("PRIVATE"))
        // The last line of the key's base64.
        let text = try String(contentsOfFile: Transcript.fixtures + "/" + file)
        let key = try #require(text.split(separator: "\n").dropLast().last)
        #expect(key.utf8.count > 20 && !output.contains(key))
        #expect(output.hasSuffix("exit 0\n"))
    }

    @Test("what certs/generate.sh makes satisfies the standard and verifies")
    func generated() throws {
        let script = """
            d=$(mktemp -d); ../generate.sh --trust-domain td.test --out "$d/ca" >/dev/null \\
                && ../generate.sh --trust-domain td.test --out "$d/next" --root "$d/ca/root" >/dev/null \\
                && culvert cert inspect --bundle --format json --roots "$d/ca/root-cert.pem" "$d/ca/cert-chain.pem" \\
                | grep -cE '"severity" : "(warn|fail)"'
            culvert cert inspect --format short --roots "$d/ca/root-cert.pem" "$d/next/ca-cert.pem" >/dev/null && echo next
            rm -r "$d"
            """
        #expect(try Transcript.run(script) == "0\nnext\nexit 0\n")
    }

    @Test("what --format pem prints can be read again")
    func pemRoundTrip() throws {
        let again =
            "culvert cert inspect --bundle --format pem svid-chain.pem | culvert cert inspect --bundle --format pem -"
        #expect(
            try Transcript.run(again) == Transcript.run("culvert cert inspect --bundle --format pem svid-chain.pem"))
    }
}

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
        let script = "cd '\(fixtures)' && export PATH='\(directory)':\"$PATH\" && { \(command); } 2>&1; echo exit $?"
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
    fileprivate init(contentsOfFile path: String) throws {
        self.init(decoding: try Data(contentsOf: URL(filePath: path)), as: UTF8.self)
    }
}
