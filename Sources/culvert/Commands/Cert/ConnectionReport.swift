/// What was seen of a server beside its certificates.
struct ConnectionReport: Encodable, Sendable {
    let address: String
    let tls: String
    let cipher: String?
    let alpn: String?
    let clientCertificate: String
    let reception: String
    let alert: String?

    init(_ showing: TLSProbe.Showing, of probe: TLSProbe) {
        address = probe.endpoint.text
        tls = showing.version
        cipher = showing.cipher
        alpn = showing.alpn.map(CertificateOutput.printable)
        clientCertificate =
            switch (showing.askedForCertificate, probe.credentials != nil) {
            case (false, _): "not_asked_for"
            case (true, false): "asked_for"
            case (true, true): "given"
            }
        (reception, alert) =
            switch showing.reception {
            case .accepted: ("accepted", nil)
            case .refused(let alert): ("refused", alert)
            case .closed: ("closed", nil)
            case .silent: ("silent", nil)
            }
    }

    func text(ink: Ink) -> String {
        let asked =
            switch clientCertificate {
            case "given": "asked for, given"
            case "asked_for": "asked for, none given (--cert and --key)"
            default: "not asked for"
            }
        let end =
            switch reception {
            case "accepted": ink("the server went on", .good)
            case "refused": ink("the server refused us: \(alert ?? "")", .bad)
            case "closed": ink("the server closed the connection", .bad)
            default: "the server said nothing, neither yes nor no"
            }
        return """
            \(ink("Connection: \(CertificateOutput.printable(address))", .bold))
                TLS: \(tls), \(cipher ?? "no cipher"), \(alpn.map { "ALPN \($0)" } ?? "no ALPN")
                Client certificate: \(asked)
                Then: \(end)

            """
    }

    enum CodingKeys: String, CodingKey {
        case address, cipher, alpn, reception, alert
        case tls = "tls_version"
        case clientCertificate = "client_certificate"
    }
}
