import SPIFFE

/// What a SPIFFE bundle says beside its certificates.
struct JWKSReport: Encodable, Sendable {
    let file: String
    /// Known in a map of bundles only.
    let trustDomain: String?
    let sequence: UInt64
    let refreshHintSeconds: Int?
    let authorities: Int

    init(_ bundle: TrustBundle, of trustDomain: String?, in file: String) {
        self.file = file
        self.trustDomain = trustDomain
        sequence = bundle.sequence
        refreshHintSeconds = bundle.refreshHint
        authorities = bundle.authorities.count
    }

    func text(ink: Ink) -> String {
        let owner = trustDomain.map { " of \($0)" } ?? ""
        let hint = refreshHintSeconds.map { ", look again every \(CertificateOutput.duration($0))" } ?? ""
        let count = authorities == 1 ? "1 authority" : "\(authorities) authorities"
        let title = ink("SPIFFE Bundle\(owner):", .bold)
        return "\(title) sequence \(sequence)\(hint), \(count)  (\(CertificateOutput.printable(file)))\n"
    }

    enum CodingKeys: String, CodingKey {
        case file, sequence, authorities
        case trustDomain = "trust_domain"
        case refreshHintSeconds = "refresh_hint_seconds"
    }
}
