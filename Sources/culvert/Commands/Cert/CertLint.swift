import ArgumentParser
import FoundationEssentials
import Glibc
import SPIFFE

/// `culvert cert lint`
struct CertLint: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lint",
        abstract: "Hold certificates against the X509-SVID standard, rule by rule.",
        discussion: """
            FILE is PEM or DER, or a SPIFFE bundle (JWKS); all certificates of a file are
            looked at. What breaks a MUST of the standard fails, what breaks a SHOULD is a
            warning. A certificate is held to the rules of what it says it is; --as holds
            it to the rules of what you mean it to be. Dates and signatures by unknown
            issuers are not looked at: see culvert cert verify.

            EXAMPLES
              culvert cert lint svid.pem                  failures and warnings
              culvert cert lint --all chain.pem           what passed, too
              culvert cert lint --as ca intermediate.pem  fit to sign SVIDs?
              culvert cert lint --strict /etc/ssl/mine    warnings are failures
              culvert cert lint --format json svid.pem |
                jq '.entries[].findings[] | select(.severity == "fail")'

            EXIT STATUS
              0   nothing failed
              2   not found, not readable, or no certificate in it
              6   a rule failed; with --strict, or warned
              64  wrong usage
              When both apply, 2.
            """
    )

    enum Role: String, ExpressibleByArgument, CaseIterable {
        case leaf, ca

        var kind: SVIDLint.Kind {
            switch self {
            case .leaf: .leaf
            case .ca: .authority
            }
        }
    }

    @Argument(help: ArgumentHelp("The file or directory to read; \"-\" is standard input.", valueName: "FILE|-|DIR"))
    var path: String

    @Option(help: "leaf or ca; without it, what each certificate says of itself.")
    var `as`: Role?

    @Option(help: "text, json or yaml.")
    var format: AnswerFormat = .text

    @Flag(help: "Show the rules that passed, too; in JSON they always are.")
    var all = false

    @Flag(help: "Warnings are failures.")
    var strict = false

    private struct Entry: Encodable {
        let source: CertificatePlace
        let kind: CertificateReport.Kind
        let lintedAs: String
        let subject: String
        let spiffeID: String?
        let findings: [CertificateReport.LintReport]

        enum CodingKeys: String, CodingKey {
            case source, kind, subject, findings
            case lintedAs = "linted_as"
            case spiffeID = "spiffe_id"
        }
    }

    func run() async throws {
        try await CertificateAnswer.give {
            var collection = try CertificateCollection(at: path, everything: true)
            collection.keepCertificates(otherwise: "the standard is about certificates: lint what is signed from it")
            let reports = collection.members.compactMap(report)
            let failing: Set<String> = strict ? ["fail", "warn"] : ["fail"]
            let isClean = reports.allSatisfy { $0.lint.allSatisfy { !failing.contains($0.severity) } }
            let status = isClean ? InspectionStatus.well : .profileViolation
            return CertificateAnswer(
                output: try rendered(reports, collection), notes: collection.notes(ink: Ink(for: STDERR_FILENO)),
                status: (collection.problems.isEmpty ? status : .unreadable).rawValue)
        }
    }

    private func report(_ member: CertificateCollection.Member) -> CertificateReport? {
        guard let certificate = member.certificate else { return nil }
        return CertificateReport(
            certificate, at: member.place, issuers: member.following, now: Date(), lintedAs: `as`?.kind)
    }

    private func rendered(_ reports: [CertificateReport], _ collection: CertificateCollection) throws -> String {
        guard let document = format.document else {
            let page = CertificateText(ink: Ink(for: STDOUT_FILENO), namesFiles: true)
            return reports.map { page.lint($0, showsPassed: all) }.joined()
        }
        let entries = reports.map { report in
            Entry(
                source: report.place, kind: report.kind,
                lintedAs: (`as` ?? (report.basicConstraints?.ca == true ? .ca : .leaf)).rawValue,
                subject: report.subject, spiffeID: report.spiffeID, findings: report.lint)
        }
        return try document.text(CertificateDocument(entries, of: collection))
    }
}

extension CertificateText {
    func lint(_ report: CertificateReport, showsPassed: Bool) -> String {
        let name = report.spiffeID ?? report.subject
        var text = "\(report.place): \(ink(title(report.kind), .bold))\(name.isEmpty ? "" : " \(name)")\n"
        for finding in report.lint where showsPassed || finding.severity != "pass" {
            text += "  \(severity(finding.severity)) \(padded(finding.rule)) \(finding.message)\n"
        }
        return text + "  \(summary(report))\n"
    }
}
