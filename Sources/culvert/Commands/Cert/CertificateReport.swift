import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import X509

/// What one certificate says, as values to print: the same for all formats.
struct CertificateReport: Encodable, Sendable {
    enum Kind: String, Encodable, Sendable {
        case root, intermediate, svid, leaf
    }

    enum Validity: String, Encodable, Sendable {
        case valid, expired, notYetValid = "not_yet_valid"
    }

    struct BasicConstraintsReport: Encodable, Sendable {
        let ca: Bool
        let pathLength: Int?

        enum CodingKeys: String, CodingKey {
            case ca
            case pathLength = "path_length"
        }
    }

    struct LintReport: Encodable, Sendable {
        let rule: String
        let severity: String
        let message: String
    }

    let type = "certificate"
    let place: CertificatePlace
    let kind: Kind
    let version: Int
    /// Lower-case hexadecimal.
    let serial: String
    let serialDecimal: String
    let signatureAlgorithm: String
    let issuer: String
    let subject: String
    let notBefore: Date
    let notAfter: Date
    let validity: Validity
    /// Negative once expired.
    let secondsRemaining: Int
    let lifetimeSeconds: Int
    let key: KeyReport
    let spiffeID: String?
    let trustDomain: String?
    let names: NameReport
    let keyUsage: [String]
    let extKeyUsage: [String]
    let basicConstraints: BasicConstraintsReport?
    let ski: String?
    let aki: String?
    let extensions: [ExtensionReport]
    /// Of the DER.
    let sha256: String
    let signature: String
    let lint: [LintReport]
    var verification: CertificateRoots.Verdict?
    let pem: String

    /// `issuers` are the certificates after it in its file; it is linted as what it says it is, or as `lintedAs`.
    init(
        _ certificate: Certificate, at place: CertificatePlace, issuers: [Certificate], now: Date,
        lintedAs lintKind: SVIDLint.Kind? = nil
    ) {
        self.place = place
        let id = try? certificate.spiffeID()
        kind =
            switch SVIDLint.Kind(of: certificate) {
            case .authority: certificate.issuer == certificate.subject ? .root : .intermediate
            case .leaf: id == nil ? .leaf : .svid
            }
        version = certificate.version == .v3 ? 3 : 1
        serial = certificate.serial
        serialDecimal = CertificateOutput.decimal(certificate.serialNumber.bytes)
        signatureAlgorithm = CertificateNames.signature(certificate.signatureAlgorithm)
        issuer = CertificateNames.distinguished(certificate.issuer)
        subject = CertificateNames.distinguished(certificate.subject)
        notBefore = certificate.notValidBefore
        notAfter = certificate.notValidAfter
        validity = now > notAfter ? .expired : now < notBefore ? .notYetValid : .valid
        secondsRemaining = Int(notAfter.timeIntervalSince(now).rounded(.down))
        lifetimeSeconds = Int(notAfter.timeIntervalSince(notBefore))
        key = KeyReport(certificate.publicKey)
        spiffeID = id?.description
        trustDomain = id?.trustDomain.name
        names = NameReport((try? certificate.extensions.subjectAlternativeNames) ?? .init())
        keyUsage = CertificateNames.usages((try? certificate.extensions.keyUsage) ?? .init())
        extKeyUsage = ((try? certificate.extensions.extendedKeyUsage) ?? .init()).map { "\($0)" }
        basicConstraints = (try? certificate.extensions.basicConstraints).map { constraints in
            switch constraints {
            case .isCertificateAuthority(let length): BasicConstraintsReport(ca: true, pathLength: length)
            case .notCertificateAuthority: BasicConstraintsReport(ca: false, pathLength: nil)
            }
        }
        ski = (try? certificate.extensions.subjectKeyIdentifier).map { CertificateOutput.hexadecimal($0.keyIdentifier) }
        aki = certificate.signerKeyIdentifier
        extensions = certificate.extensions.map(ExtensionReport.init)
        let der = certificate.der()
        sha256 = CertificateOutput.hexadecimal(SHA256.hash(data: der))
        signature = CertificateOutput.hexadecimal(certificate.signature.rawRepresentation)
        lint = SVIDLint.findings(for: certificate, kind: lintKind, issuers: issuers).map { finding in
            LintReport(
                rule: finding.rule, severity: finding.severity.rawValue,
                message: CertificateOutput.printable(finding.message))
        }
        pem = certificate.pem()
    }

    var status: InspectionStatus {
        switch validity {
        case .expired: .expired
        case .notYetValid: .notYetValid
        case .valid where verification?.verified == false: .unverified
        case .valid: lint.contains { $0.severity == SVIDLint.Severity.fail.rawValue } ? .profileViolation : .well
        }
    }

    /// In JSON the PEM text has its own format, and dates are RFC 3339.
    enum CodingKeys: String, CodingKey {
        case type, kind, version, serial
        case place = "source"
        case signatureAlgorithm = "signature_algorithm"
        case issuer, subject
        case notBefore = "not_before"
        case notAfter = "not_after"
        case validity
        case secondsRemaining = "seconds_remaining"
        case lifetimeSeconds = "lifetime_seconds"
        case key
        case spiffeID = "spiffe_id"
        case trustDomain = "trust_domain"
        case names = "san"
        case keyUsage = "key_usage"
        case extKeyUsage = "ext_key_usage"
        case basicConstraints = "basic_constraints"
        case ski, aki, extensions, sha256, signature, lint, verification
    }
}
