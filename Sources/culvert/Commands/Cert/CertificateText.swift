import FoundationEssentials

/// The formats for people: `text` in the manner of openssl, `short` in that of step.
struct CertificateText {
    let ink: Ink
    /// In the short format, when several files were read.
    let namesFiles: Bool

    func text(_ entry: CertificateInspection.Entry) -> String {
        switch entry {
        case .certificate(let report): certificate(report)
        case .request(let report): request(report)
        }
    }

    func short(_ entry: CertificateInspection.Entry) -> String {
        switch entry {
        case .certificate(let report): shortCertificate(report)
        case .request(let report): shortRequest(report)
        }
    }

    private func certificate(_ report: CertificateReport) -> String {
        var page = Page(ink: ink)
        page.line(0, ink("Certificate: \(title(report.kind))", .bold) + ink("  (\(report.place))", .dim))
        page.line(1, "Version: \(report.version)")
        page.line(1, "Serial Number: \(report.serialDecimal) (0x\(report.serial))")
        page.line(1, "Signature Algorithm: \(report.signatureAlgorithm)")
        page.line(1, "Issuer: \(named(report.issuer))")
        page.line(1, "Validity: \(validity(report))")
        page.line(2, "Not Before: \(report.notBefore.formatted(.iso8601))")
        page.line(2, "Not After : \(report.notAfter.formatted(.iso8601))")
        page.line(1, "Subject: \(named(report.subject))")
        page.key(report.key)
        page.extensions(report.extensions, title: "X509v3 extensions:")
        page.line(1, "Signature:")
        page.hexadecimal(2, report.signature, perLine: 18)
        page.line(1, "SHA-256 Fingerprint: \(report.sha256)")
        if let id = report.spiffeID { page.line(1, "SPIFFE ID: \(ink(id, .bold))") }
        if let verdict = report.verification { page.line(1, "Verification: \(painted(verdict))") }
        page.line(1, "SPIFFE lint: \(summary(report))")
        for finding in report.lint {
            page.line(2, "\(severity(finding.severity)) \(padded(finding.rule)) \(finding.message)")
        }
        return page.text
    }

    private func request(_ report: SigningRequestReport) -> String {
        var page = Page(ink: ink)
        page.line(0, ink("Certificate Signing Request", .bold) + ink("  (\(report.place))", .dim))
        page.line(1, "Subject: \(named(report.subject))")
        page.key(report.key)
        page.extensions(report.extensions, title: "Requested extensions:")
        page.line(1, "Signature Algorithm: \(report.signatureAlgorithm)")
        page.line(
            1,
            "Signature: "
                + (report.signatureValid ? ink("made with its own key", .good) : ink("not made with its own key", .bad))
        )
        return page.text
    }

    private func shortCertificate(_ report: CertificateReport) -> String {
        let serial = report.serialDecimal
        let number = serial.utf8.count > 12 ? "\(serial.prefix(4))...\(serial.suffix(4))" : serial
        var text =
            "\(ink("X.509v\(report.version) \(title(report.kind)) (\(report.key.label)) [Serial: \(number)]", .bold))\n"
        let subject = (report.subject.isEmpty ? [] : [report.subject]) + names(report.names)
        text += column("Subject:", subject.isEmpty ? ["(empty)"] : subject)
        text += column("Issuer:", [named(report.issuer)])
        text += column("Valid from:", [report.notBefore.formatted(.iso8601)])
        text += "          to:  \(report.notAfter.formatted(.iso8601))  \(validity(report))\n"
        if let verdict = report.verification { text += column("Verified:", [painted(verdict)]) }
        if namesFiles { text += column("File:", ["\(report.place)"]) }
        text += column("SPIFFE:", [summary(report)])
        for finding in report.lint where finding.severity == "fail" {
            text += column("", ["\(severity(finding.severity)) \(padded(finding.rule)) \(finding.message)"])
        }
        return text
    }

    private func shortRequest(_ report: SigningRequestReport) -> String {
        var text = "\(ink("X.509v3 Certificate Signing Request (\(report.key.label))", .bold))\n"
        let subject = (report.subject.isEmpty ? [] : [report.subject]) + names(report.names)
        text += column("Subject:", subject.isEmpty ? ["(empty)"] : subject)
        if !report.signatureValid { text += column("Signature:", [ink("not made with its own key", .bad)]) }
        if namesFiles { text += column("File:", ["\(report.place)"]) }
        return text
    }

    private func names(_ names: NameReport) -> [String] { names.uri + names.dns + names.ip + names.email + names.other }

    /// Values aligned under the first, behind a label.
    private func column(_ label: String, _ values: [String]) -> String {
        values.enumerated().map { index, value in
            let head = index == 0 ? label : ""
            return "  \(head)\(String(repeating: " ", count: 13 - head.utf8.count))\(value)\n"
        }.joined()
    }

    func title(_ kind: CertificateReport.Kind) -> String {
        switch kind {
        case .root: "Root CA Certificate"
        case .intermediate: "Intermediate CA Certificate"
        case .svid: "X509-SVID"
        case .leaf: "TLS Certificate"
        }
    }

    private func validity(_ report: CertificateReport) -> String {
        let left = report.secondsRemaining
        switch report.validity {
        case .expired: return ink("expired \(CertificateOutput.duration(-left)) ago", .bad)
        case .notYetValid:
            let wait = CertificateOutput.duration(left - report.lifetimeSeconds)
            return ink("not valid for another \(wait)", .bad)
        case .valid:
            let share = report.lifetimeSeconds > 0 ? left * 100 / report.lifetimeSeconds : 0
            let lifetime = CertificateOutput.duration(report.lifetimeSeconds)
            let text = "valid, \(CertificateOutput.duration(left)) left (\(share) % of \(lifetime))"
            return ink(text, share < 20 ? .caution : .good)
        }
    }

    private func painted(_ verdict: CertificateRoots.Verdict) -> String {
        ink(CertificateOutput.printable(verdict.message), verdict.verified ? .good : .bad)
    }

    func summary(_ report: CertificateReport) -> String {
        let failed = report.lint.count { $0.severity == "fail" }
        let warned = report.lint.count { $0.severity == "warn" }
        let warnings = warned == 1 ? "1 warning" : "\(warned) warnings"
        let counts = "\(report.lint.count - failed - warned) passed, \(warnings), \(failed) failed"
        return ink(counts, failed > 0 ? .bad : warned > 0 ? .caution : .good)
    }

    func severity(_ severity: String) -> String {
        ink(severity.uppercased(), severity == "fail" ? .bad : severity == "warn" ? .caution : .good)
    }

    private func named(_ name: String) -> String { name.isEmpty ? "(empty)" : name }

    func padded(_ rule: String) -> String { rule + String(repeating: " ", count: max(0, 4 - rule.utf8.count)) }
}

/// Indented lines, in steps of four.
private struct Page {
    let ink: Ink
    private(set) var text = ""

    init(ink: Ink) { self.ink = ink }

    mutating func line(_ depth: Int, _ content: String) {
        text += String(repeating: "    ", count: depth) + content + "\n"
    }

    mutating func hexadecimal(_ depth: Int, _ digits: String, perLine: Int) {
        var left = Array(digits.utf8)[...]
        while !left.isEmpty {
            let row = left.prefix(perLine * 2)
            left = left.dropFirst(row.count)
            let pairs = stride(from: row.startIndex, to: row.endIndex, by: 2).map {
                String(decoding: row[$0..<min($0 + 2, row.endIndex)], as: UTF8.self)
            }
            line(depth, pairs.joined(separator: ":") + (left.isEmpty ? "" : ":"))
        }
    }

    mutating func key(_ key: KeyReport) {
        line(1, "Subject Public Key Info:")
        line(2, "Public Key Algorithm: \(key.label)")
        line(2, key.exponent == nil ? "Public Key:" : "Modulus:")
        hexadecimal(3, key.value, perLine: 15)
        if let exponent = key.exponent { line(2, "Exponent: \(exponent)") }
    }

    mutating func extensions(_ extensions: [ExtensionReport], title: String) {
        guard !extensions.isEmpty else { return }
        line(1, title)
        for member in extensions {
            line(2, "\(member.name):\(member.critical ? " critical" : "")")
            for value in member.value { line(3, value) }
        }
    }
}
