import ArgumentParser
import FoundationEssentials
import Glibc
import X509

/// `culvert cert needs-renewal`: a question for scripts, answered by the exit status.
struct CertNeedsRenewal: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "needs-renewal",
        abstract: "Tell by the exit status whether a certificate is to be renewed.",
        discussion: """
            --expires-in 75% says: three quarters of its life are over. --expires-in 2h
            (or 1h15m, 30d) says: no more than that is left. An expired certificate is
            always to be renewed. Of several, one that is to be renewed is enough.

            EXAMPLES
              culvert cert needs-renewal svid.pem && systemctl reload my-service
              culvert cert needs-renewal --expires-in 2h --bundle chain.pem
              culvert cert needs-renewal --expires-in 30d --quiet /etc/ssl/mine
              culvert cert needs-renewal --format json svid.pem |
                jq '.entries[].seconds_remaining'

            EXIT STATUS
              0    it is to be renewed
              1    not yet
              2    there is no such file
              64   wrong usage
              255  anything else: not readable, or no certificate in it
              A script that acts on 1 only must not take 2, 64 or 255 for it.
            """
    )

    @Argument(help: ArgumentHelp("The file or directory to read; \"-\" is standard input.", valueName: "FILE|-|DIR"))
    var path: String

    @Option(
        help: ArgumentHelp(
            "When 75% of its life is over, or 2h (30d, 1h15m) is all that is left.", valueName: "SHARE%|DURATION"))
    var expiresIn: RenewalThreshold = .elapsed(percent: 66)

    @Option(help: "text, json or yaml.")
    var format: AnswerFormat = .text

    @Flag(help: "Ask of every certificate of a file, not only of the first.")
    var bundle = false

    @Flag(name: .shortAndLong, help: "Print nothing but errors.")
    var quiet = false

    @OptionGroup var time: JudgedTime

    private enum Status: Int32 {
        case due = 0
        case notYet = 1
        case notFound = 2
        case failure = 255
    }

    private struct Entry: Encodable {
        let source: CertificatePlace
        let isDue: Bool
        let notAfter: Date
        let secondsRemaining: Int
        let percentOver: Int
        let words: String

        enum CodingKeys: String, CodingKey {
            case source
            case isDue = "needs_renewal"
            case notAfter = "not_after"
            case secondsRemaining = "seconds_remaining"
            case percentOver = "life_percent_over"
        }
    }

    func run() async throws {
        try await CertificateAnswer.give(failure: { problem in
            let isMissing = problem.code == ENOENT
            return (isMissing ? Status.notFound : .failure).rawValue
        }) {
            var collection = try CertificateCollection(at: path, everything: bundle)
            collection.keepCertificates(otherwise: "give the certificate that was issued for it")
            if collection.members.isEmpty && collection.problems.isEmpty {
                throw CertificateProblem(file: path, message: "no certificate in it", hint: "check the path")
            }
            let now = time.date
            let entries = collection.members.compactMap { entry($0, now: now) }
            return CertificateAnswer(
                output: quiet ? "" : try rendered(entries, collection),
                notes: collection.notes(ink: Ink(for: STDERR_FILENO), namesRemainders: false),
                status: status(entries, collection).rawValue)
        }
    }

    private func entry(_ member: CertificateCollection.Member, now: Date) -> Entry? {
        guard let certificate = member.certificate else { return nil }
        let life = CertificateLife(
            notBefore: certificate.notValidBefore, notAfter: certificate.notValidAfter, now: now)
        return Entry(
            source: member.place, isDue: expiresIn.isReached(life), notAfter: certificate.notValidAfter,
            secondsRemaining: life.left, percentOver: life.percentOver, words: life.words)
    }

    private func status(_ entries: [Entry], _ collection: CertificateCollection) -> Status {
        if entries.contains(where: \.isDue) { return .due }
        return collection.problems.isEmpty && !entries.isEmpty ? .notYet : .failure
    }

    private func rendered(_ entries: [Entry], _ collection: CertificateCollection) throws -> String {
        if let document = format.document { return try document.text(CertificateDocument(entries, of: collection)) }
        let ink = Ink(for: STDOUT_FILENO)
        return entries.map { entry in
            let verdict = entry.isDue ? ink("to be renewed", .bad) : ink("not yet", .good)
            return "\(entry.source): \(verdict): \(entry.words)\n"
        }.joined()
    }
}
