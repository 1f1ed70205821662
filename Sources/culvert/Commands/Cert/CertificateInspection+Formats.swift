extension CertificateInspection {
    func rendered(as format: CertInspect.Format, ink: Ink) throws -> String {
        let page = CertificateText(ink: ink, namesFiles: collection.isDirectory)
        let head = (connection?.text(ink: ink) ?? "") + collection.bundles.map { $0.text(ink: ink) }.joined()
        return switch format {
        case .text: head + entries.map { page.text($0) }.joined(separator: "\n")
        case .short: head + entries.map { page.short($0) }.joined()
        case .json: try DocumentFormat.json.text(document)
        case .yaml: try DocumentFormat.yaml.text(document)
        case .pem: entries.map(\.pem).joined()
        }
    }

    private var document: CertificateDocument<Entry> {
        CertificateDocument(entries, of: collection, connection: connection)
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
