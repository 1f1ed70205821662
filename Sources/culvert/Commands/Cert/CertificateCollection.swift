import SPIFFE
import X509

/// What files hold, in their order, and what of them cannot be shown.
struct CertificateCollection: Sendable {
    struct Member: Sendable {
        let place: CertificatePlace
        let item: CertificateContent.Item
        /// The certificates after it in its file.
        let following: [Certificate]
        /// Among the certificates of its file.
        let isFirstCertificate: Bool

        var certificate: Certificate? {
            if case .certificate(let certificate) = item { certificate } else { nil }
        }
    }

    /// A file that holds nothing to show, and is no fault.
    struct Skipped: Encodable, Hashable, Sendable {
        let file: String
        let reason: String
    }

    /// A file whose other certificates were not shown.
    struct Remainder: Encodable, Hashable, Sendable {
        let file: String
        let count: Int
    }

    private(set) var isDirectory = false
    private(set) var members: [Member] = []
    private(set) var bundles: [JWKSReport] = []
    private(set) var skipped: [Skipped] = []
    private(set) var remainders: [Remainder] = []
    private(set) var problems: [CertificateProblem] = []

    /// The first of each file at `path`, or `everything`.
    init(at path: String, everything: Bool) throws(CertificateProblem) {
        let sources = try CertificateSource.all(at: path)
        isDirectory = sources.isDirectory
        for source in sources.files { add(source, everything: everything) }
        problems += sources.unreadable
    }

    /// Everything at all of them; a path that cannot be read at all is a problem like any other.
    init(all paths: [String]) {
        isDirectory = true
        for path in paths {
            do {
                let sources = try CertificateSource.all(at: path)
                for source in sources.files { add(source, everything: true) }
                problems += sources.unreadable
            } catch {
                problems.append(error)
            }
        }
    }

    /// What a server showed.
    init(chainDER: [[UInt8]], of server: String) {
        add(CertificateContent(chainDER: chainDER, of: server), of: server, everything: true)
    }

    private mutating func add(_ source: CertificateSource, everything: Bool) {
        let content = CertificateContent(source)
        add(content, of: source.name, everything: everything)
        if content.found.isEmpty && content.problems.isEmpty { nothing(in: source, content) }
    }

    private mutating func add(_ content: CertificateContent, of name: String, everything: Bool) {
        problems += content.problems
        bundles += content.bundles
        let certificates = content.certificates
        let shown = everything ? content.found[...] : content.found.prefix(1)
        var position = 0
        for (index, found) in shown.enumerated() {
            let place = CertificatePlace(
                file: name, line: found.line, index: index + 1, count: content.found.count)
            var isFirst = false
            if case .certificate = found.item {
                isFirst = position == 0
                position += 1
            }
            members.append(
                Member(
                    place: place, item: found.item, following: Array(certificates.dropFirst(position)),
                    isFirstCertificate: isFirst))
        }
        if shown.count < content.found.count {
            remainders.append(Remainder(file: name, count: content.found.count - shown.count))
        }
    }

    private mutating func nothing(in source: CertificateSource, _ content: CertificateContent) {
        let kinds = Set(content.others).sorted().map { $0.lowercased() }.joined(separator: ", ")
        var reason = kinds.isEmpty ? "neither PEM, DER nor a SPIFFE bundle" : "only \(kinds), which is not shown"
        if source.bytes.isEmpty { reason = "empty" }
        if !content.bundles.isEmpty { reason = "a SPIFFE bundle without authorities: it trusts nobody" }
        guard !isDirectory else {
            skipped.append(Skipped(file: source.name, reason: reason))
            return
        }
        problems.append(
            CertificateProblem(
                file: source.name, message: "no certificate in it (\(reason))",
                hint: "give a certificate (PEM or DER), a signing request or a SPIFFE bundle"))
    }

    /// Takes away what a command has nothing to say about: in a directory it is passed over, alone it is a fault.
    mutating func keepCertificates(otherwise hint: String) {
        for member in members where member.certificate == nil {
            if isDirectory {
                skipped.append(Skipped(file: member.place.file, reason: "a signing request"))
            } else {
                problems.append(
                    CertificateProblem(
                        file: member.place.file, message: "a signing request, no certificate", hint: hint)
                )
            }
        }
        members.removeAll { $0.certificate == nil }
    }

    /// For standard error: what was not shown, and why.
    func notes(ink: Ink, namesRemainders: Bool = true, namesSkipped: Bool = true) -> String {
        var notes = ""
        for remainder in remainders where namesRemainders {
            notes += "\(remainder.file): \(remainder.count) more; show all with --bundle\n"
        }
        for file in skipped where namesSkipped { notes += "skipped \(file.file): \(file.reason)\n" }
        for problem in problems { notes += problem.text(ink: ink) }
        return notes
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

extension CertificatePlace: CustomStringConvertible {
    var description: String {
        let line = line.map { ", line \($0)" } ?? ""
        let number = count > 1 ? ", \(index) of \(count)" : ""
        return "\(CertificateOutput.printable(file))\(line)\(number)"
    }
}
