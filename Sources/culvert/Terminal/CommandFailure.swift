import ArgumentParser
import Glibc

/// Why a command could not do its work, in words for whoever typed it.
struct CommandFailure: Error, Sendable, CustomStringConvertible {
    let description: String
    let hint: String?
    let exitCode: ExitCode

    init(_ description: String, hint: String? = nil, exitCode: ExitCode = .failure) {
        self.description = description
        self.hint = hint
        self.exitCode = exitCode
    }

    /// Runs `body`; a failure becomes `error:` and `hint:` on standard error and its exit code, 1 unless it says otherwise.
    static func reporting(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let failure as CommandFailure {
            var text = "error: \(failure.description)\n"
            if let hint = failure.hint { text += "hint: \(hint)\n" }
            StandardError.write(text)
            throw failure.exitCode
        }
    }
}

/// What is for people and must not mix with a command's output.
enum StandardError {
    static func write(_ text: String) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if written < 0 && errno == EINTR { continue }
            // Nobody is left to be told.
            guard written > 0 else { return }
            rest = rest.dropFirst(written)
        }
    }
}
