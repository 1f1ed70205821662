import ArgumentParser
import FoundationEssentials
import MeshAPI

/// `culvert ca doctor`
struct CADoctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Looks for what is wrong with the authority, or soon will be.",
        discussion: """
            Each check is PASS, WARN (will go wrong if nobody acts) or FAIL (is wrong now), with what was found and what to do. \
            The running authority looks itself: remaining lives of roots (60 days) and of the intermediate, SVID lifetime against \
            its issuer's, permissions and owners of store, sealing key and admin socket, free disk space, the clock against what is \
            recorded, every node's acknowledgement and certificate, the bundle file, and a signature made now.

            EXAMPLES
              culvert ca doctor
              culvert ca doctor --strict && echo healthy
              culvert ca doctor --format json | jq '.findings[] | select(.verdict != "pass")'

            EXIT STATUS
              0   nothing failed; with --strict, nothing is to be warned of either
              1   something failed, or with --strict is to be warned of
              2   the authority could not be asked
              64  wrong usage
            """
    )

    @Flag(help: "Warnings count as failures.")
    var strict = false

    @Option(help: "text, json or yaml.")
    var format = AnswerFormat.text

    @OptionGroup var admin: AdminOptions

    func run() async throws {
        let report: DoctorReport
        do {
            report = DoctorReport(
                try await admin.callOperator { client, options in try await client.examine(.init(), options: options) })
        } catch let failure as CommandFailure {
            StandardError.write("error: \(failure.description)\n" + (failure.hint.map { "hint: \($0)\n" } ?? ""))
            throw ExitCode(2)
        }
        print(try format.document?.text(report) ?? report.text, terminator: "")
        if report.isBad(strict: strict) { throw ExitCode.failure }
    }
}

/// What `culvert ca doctor` prints: lines for people, JSON for programs.
struct DoctorReport: Encodable, Equatable {
    struct Line: Encodable, Equatable {
        let check: String
        let verdict: AuthorityExamination.Verdict
        let detail: String
        /// Empty when there is nothing to do.
        let remedy: String
    }

    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    let trustDomain: String
    let examinedAt: Date
    let findings: [Line]

    init(_ response: Culvert_Authority_V1_ExamineResponse) {
        trustDomain = response.trustDomain
        examinedAt = Date(wire: response.examinedAt)
        findings = response.findings.map {
            Line(
                check: $0.check, verdict: AuthorityExamination.Verdict($0.verdict),
                detail: CertificateOutput.printable($0.detail), remedy: CertificateOutput.printable($0.remedy))
        }
    }

    func isBad(strict: Bool) -> Bool {
        findings.isEmpty || findings.contains { $0.verdict == .fail || (strict && $0.verdict == .warn) }
    }

    var text: String {
        let lines = findings.map { finding in
            let verdict = finding.verdict.rawValue.uppercased()
            let remedy = finding.remedy.isEmpty ? "" : "      \(finding.remedy)\n"
            return "\(verdict)  \(finding.check): \(finding.detail)\n\(remedy)"
        }
        let counts = [AuthorityExamination.Verdict.pass, .warn, .fail].map { verdict in
            "\(findings.filter { $0.verdict == verdict }.count) \(verdict.rawValue)"
        }
        return lines.joined() + "\n\(trustDomain): \(counts.joined(separator: ", "))\n"
    }
}

extension AuthorityExamination.Verdict {
    /// What this version does not know is a failure.
    init(_ verdict: Culvert_Authority_V1_Verdict) {
        switch verdict {
        case .pass: self = .pass
        case .warn: self = .warn
        case .fail, .unspecified, .UNRECOGNIZED: self = .fail
        }
    }
}

extension Culvert_Authority_V1_Verdict {
    init(_ verdict: AuthorityExamination.Verdict) {
        switch verdict {
        case .pass: self = .pass
        case .warn: self = .warn
        case .fail: self = .fail
        }
    }
}
