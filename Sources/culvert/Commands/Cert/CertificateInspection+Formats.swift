import FoundationEssentials

extension CertificateInspection {
    func rendered(as format: CertInspect.Format, ink: Ink) throws -> String {
        let page = CertificateText(ink: ink, namesFiles: isDirectory)
        return switch format {
        case .text: entries.map { page.text($0) }.joined(separator: "\n")
        case .short: entries.map { page.short($0) }.joined()
        case .json: try json()
        case .pem: entries.map(\.pem).joined()
        }
    }

    /// For standard error: what was not shown, and why.
    func notes(ink: Ink) -> String {
        var notes = ""
        for remainder in remainders {
            notes += "\(remainder.file): \(remainder.count) more; show all with --bundle\n"
        }
        for file in skipped { notes += "skipped \(file.file): \(file.reason)\n" }
        for problem in problems { notes += problem.text(ink: ink) }
        return notes
    }

    /// One document, `schemaVersion` 1. Times are RFC 3339 in UTC, numbers in hexadecimal are lower-case strings.
    private func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        let document = Document(
            entries: entries, notShown: remainders, skipped: skipped,
            problems: problems.map { Document.Problem(file: $0.file, message: $0.message, hint: $0.hint) })
        return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
    }

    private struct Document: Encodable {
        struct Problem: Encodable {
            let file: String?
            let message: String
            let hint: String
        }

        var schemaVersion = 1
        let entries: [Entry]
        let notShown: [Remainder]
        let skipped: [Skipped]
        let problems: [Problem]

        enum CodingKeys: String, CodingKey {
            case schemaVersion, entries
            case notShown = "not_shown"
            case skipped, problems
        }
    }
}

extension CertificateInspection.Entry: Encodable {
    func encode(to encoder: any Encoder) throws {
        switch self {
        case .certificate(let report): try report.encode(to: encoder)
        case .request(let report): try report.encode(to: encoder)
        }
    }

    var pem: String {
        switch self {
        case .certificate(let report): report.pem
        case .request(let report): report.pem
        }
    }
}
