import FoundationEssentials
import SPIFFE
import X509

/// Everything that one call of `culvert cert inspect` shows.
struct CertificateInspection: Sendable {
    enum Entry: Sendable {
        case certificate(CertificateReport)
        case request(SigningRequestReport)
    }

    /// A file of a directory that holds nothing to show.
    struct Skipped: Encodable, Hashable, Sendable {
        let file: String
        let reason: String
    }

    /// A file whose other certificates were not shown.
    struct Remainder: Encodable, Hashable, Sendable {
        let file: String
        let count: Int
    }

    let isDirectory: Bool
    private(set) var entries: [Entry] = []
    private(set) var skipped: [Skipped] = []
    private(set) var remainders: [Remainder] = []
    private(set) var problems: [CertificateProblem] = []
    private(set) var status = InspectionStatus.well

    init(isDirectory: Bool) { self.isDirectory = isDirectory }

    mutating func unreadable(_ problem: CertificateProblem) {
        problems.append(problem)
        status = status.joined(.unreadable)
    }

    mutating func add(_ source: CertificateSource, everything: Bool, roots: CertificateRoots?, now: Date) async {
        let content = CertificateContent(source)
        for problem in content.problems { unreadable(problem) }
        guard !content.found.isEmpty else {
            if content.problems.isEmpty { nothing(in: source, content.others) }
            return
        }
        let certificates = content.certificates
        let shown = everything ? content.found[...] : content.found.prefix(1)
        var position = 0
        for (index, found) in shown.enumerated() {
            let place = CertificatePlace(
                file: source.name, line: found.line, index: index + 1, count: content.found.count)
            switch found.item {
            case .request(let request): entries.append(.request(SigningRequestReport(request, at: place)))
            case .certificate(let certificate):
                let issuers = Array(certificates.dropFirst(position + 1))
                var report = CertificateReport(certificate, at: place, issuers: issuers, now: now)
                if position == 0 { report.verification = await roots?.verify(certificates, now: now) }
                position += 1
                status = status.joined(report.status)
                entries.append(.certificate(report))
            }
        }
        if shown.count < content.found.count {
            remainders.append(Remainder(file: source.name, count: content.found.count - shown.count))
        }
    }

    private mutating func nothing(in source: CertificateSource, _ others: [String]) {
        let kinds = Set(others).sorted().map { $0.lowercased() }.joined(separator: ", ")
        let reason =
            source.bytes.isEmpty
            ? "empty" : kinds.isEmpty ? "neither PEM, DER nor a SPIFFE bundle" : "only \(kinds), which is not shown"
        guard !isDirectory else {
            skipped.append(Skipped(file: source.name, reason: reason))
            return
        }
        unreadable(
            CertificateProblem(
                file: source.name, message: "no certificate in it (\(reason))",
                hint: "give a certificate (PEM or DER), a signing request or a SPIFFE bundle"))
    }
}

/// Where an entry stood.
struct CertificatePlace: Encodable, Hashable, Sendable {
    let file: String
    let line: Int?
    /// From 1.
    let index: Int
    let count: Int
}
