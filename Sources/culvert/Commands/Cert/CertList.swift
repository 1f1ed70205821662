import ArgumentParser
import FoundationEssentials
import Glibc
import SPIFFE
import X509

/// `culvert cert list`: what will expire first.
struct CertList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List certificates below directories, those that expire first on top.",
        discussion: """
            Directories are walked; names that begin with a dot are left out, and what is
            no certificate is passed over. A certificate that is found several times is
            shown once, with the number of places (JSON names them all). What cannot be
            read is reported, and the rest is listed.

            EXAMPLES
              culvert cert list /etc/ssl/mine              all of them
              culvert cert list --expires-in 30d /etc/ssl  only what ends within 30 days
              culvert cert list chain.pem bundle.json      of some files
              culvert cert list /run/culvert/certificates.sock   of a proxy that runs
              culvert cert list --format json . | jq -r '.entries[] | .not_after'

            EXIT STATUS
              0   listed, whatever could not be read
              2   nothing there could be read
              3   a listed certificate has expired
              4   a listed certificate is not valid yet
              64  wrong usage
              When several apply, the first of them.
            """
    )

    @Argument(help: ArgumentHelp("Directories and files to read; \"-\" is standard input.", valueName: "DIR|FILE|-"))
    var paths: [String]

    @Option(
        help: ArgumentHelp(
            "Only when 75% of its life is over, or 2h (30d, 1h15m) is all that is left.",
            valueName: "SHARE%|DURATION"))
    var expiresIn: RenewalThreshold?

    @Option(help: "table, json or yaml.")
    var format: TableFormat = .table

    @OptionGroup var time: JudgedTime

    func run() async throws {
        try await CertificateAnswer.give {
            let collection = CertificateCollection(all: paths)
            let now = time.date
            let rows = CertificateRow.rows(of: collection, now: now).filter { expiresIn?.isReached($0.life) ?? true }
            let worst = rows.reduce(InspectionStatus.well) { $0.joined($1.status) }
            let isEmpty = collection.members.isEmpty && !collection.problems.isEmpty
            return CertificateAnswer(
                output: try format.document?.text(CertificateDocument(rows, of: collection))
                    ?? (rows.isEmpty ? "" : CertificateRow.table(rows).render(Ink(for: STDOUT_FILENO))),
                notes: collection.notes(ink: Ink(for: STDERR_FILENO), namesSkipped: false),
                status: (isEmpty ? .unreadable : worst).rawValue)
        }
    }
}

/// One line of the list.
struct CertificateRow: Encodable {
    let kind: CertificateReport.Kind
    let spiffeID: String?
    let subject: String
    /// Lower-case hexadecimal.
    let serial: String
    let validity: CertificateReport.Validity
    let notBefore: Date
    let notAfter: Date
    let secondsRemaining: Int
    /// Lower-case hexadecimal, of the DER.
    let sha256: String
    private(set) var sources: [CertificatePlace]
    let life: CertificateLife

    /// Those that end first, first; among these, in the order they were found.
    static func rows(of collection: CertificateCollection, now: Date) -> [CertificateRow] {
        var rows: [CertificateRow] = []
        var known: [Certificate: Int] = [:]
        for member in collection.members {
            guard let certificate = member.certificate else { continue }
            if let row = known[certificate] {
                rows[row].sources.append(member.place)
            } else {
                known[certificate] = rows.count
                rows.append(CertificateRow(certificate, at: member.place, now: now))
            }
        }
        return rows.enumerated()
            .sorted { ($0.element.notAfter, $0.offset) < ($1.element.notAfter, $1.offset) }.map(\.element)
    }

    private init(_ certificate: Certificate, at place: CertificatePlace, now: Date) {
        let report = CertificateReport(certificate, at: place, issuers: [], now: now)
        kind = report.kind
        spiffeID = report.spiffeID
        subject = report.subject
        serial = report.serial
        validity = report.validity
        notBefore = report.notBefore
        notAfter = report.notAfter
        secondsRemaining = report.secondsRemaining
        sha256 = report.sha256
        sources = [place]
        life = CertificateLife(notBefore: notBefore, notAfter: notAfter, now: now)
    }

    var status: InspectionStatus {
        switch validity {
        case .valid: .well
        case .expired: .expired
        case .notYetValid: .notYetValid
        }
    }

    static func table(_ rows: [CertificateRow]) -> TextTable {
        var table = TextTable(columns: [
            TextTable.Column(title: "NOT AFTER"), TextTable.Column(title: "VALIDITY"), TextTable.Column(title: "KIND"),
            TextTable.Column(title: "IDENTITY"), TextTable.Column(title: "SERIAL"), TextTable.Column(title: "FILE"),
        ])
        table.separatesRows = false
        table.rows = rows.map(\.cells)
        return table
    }

    private var cells: [[TextTable.Line]] {
        let name = spiffeID ?? (subject.isEmpty ? "(no name)" : subject)
        let more = sources.count > 1 ? " and \(sources.count - 1) more" : ""
        let number = serial.utf8.count > 12 ? "\(serial.prefix(4))...\(serial.suffix(4))" : serial
        let style: Ink.Style = validity != .valid ? .bad : life.percentOver >= 80 ? .caution : .good
        return [
            TextTable.Line(text: notAfter.formatted(.iso8601)), TextTable.Line(text: life.words, style: style),
            TextTable.Line(text: kind.rawValue), TextTable.Line(text: name, style: .bold),
            TextTable.Line(text: number), TextTable.Line(text: "\(sources.first.map { "\($0)" } ?? "")\(more)"),
        ].map { [$0] }
    }

    enum CodingKeys: String, CodingKey {
        case kind, subject, serial, validity, sha256, sources
        case spiffeID = "spiffe_id"
        case notBefore = "not_before"
        case notAfter = "not_after"
        case secondsRemaining = "seconds_remaining"
    }
}
