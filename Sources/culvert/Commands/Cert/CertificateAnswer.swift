import ArgumentParser
import FoundationEssentials
import Glibc

/// What a `culvert cert` command ends with.
struct CertificateAnswer {
    let output: String
    /// For standard error.
    let notes: String
    let status: Int32

    /// Prints what `body` answers and exits with its status; a problem becomes `error:` and `hint:` and `failure`.
    static func give(
        failure: (CertificateProblem) -> Int32 = { _ in InspectionStatus.unreadable.rawValue },
        _ body: () async throws -> CertificateAnswer
    ) async throws {
        do {
            let answer = try await body()
            CertificateOutput.write(answer.output, to: STDOUT_FILENO)
            CertificateOutput.write(answer.notes, to: STDERR_FILENO)
            guard answer.status == 0 else { throw ExitCode(answer.status) }
        } catch let problem as CertificateProblem {
            CertificateOutput.write(problem.text(ink: Ink(for: STDERR_FILENO)), to: STDERR_FILENO)
            throw ExitCode(failure(problem))
        }
    }
}

/// `--at`
struct JudgedTime: ParsableArguments {
    @Option(help: ArgumentHelp("Judge validity at this time instead of now (RFC 3339).", valueName: "TIME"))
    var at: String?

    /// Now, unless the user says otherwise.
    var date: Date { at.flatMap(Self.date) ?? Date() }

    func validate() throws {
        if let at, Self.date(at) == nil {
            throw ValidationError("--at \(at) is not a time; write it as 2026-11-21T14:00:00Z")
        }
    }

    private static func date(_ text: String) -> Date? { try? Date(text, strategy: .iso8601) }
}
