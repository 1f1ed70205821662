import SwiftASN1
public import X509

/// Holds a certificate against the X509-SVID standard, rule by rule.
///
/// MUST and MUST NOT give `fail`, SHOULD gives `warn`. The rules' numbers are those of section 1.2 of our SPIFFE
/// dossier,
/// which names the standard's section for each.
public enum SVIDLint {
    public enum Severity: String, Hashable, Sendable, Comparable {
        case pass, warn, fail

        public static func < (left: Severity, right: Severity) -> Bool { left.rank < right.rank }

        private var rank: Int {
            switch self {
            case .pass: 0
            case .warn: 1
            case .fail: 2
            }
        }
    }

    public enum Kind: Hashable, Sendable {
        case leaf
        /// Signs other certificates: a root or an intermediate.
        case authority

        /// As the certificate describes itself in basicConstraints.
        public init(of certificate: Certificate) { self = certificate.isAuthority ? .authority : .leaf }
    }

    public struct Finding: Hashable, Sendable, CustomStringConvertible {
        /// `X-1` to `X-16`.
        public let rule: String
        public let severity: Severity
        public let message: String

        public var description: String { "\(rule) \(message)" }
    }

    /// One finding for each rule that says something about this kind of certificate, in the rules' order.
    ///
    /// `issuers` are the certificates presented after this one, for the rule about the chain; none is a legal chain
    /// too.
    public static func findings(
        for certificate: Certificate, kind: Kind? = nil, issuers: [Certificate] = []
    ) -> [Finding] {
        let subject = Subject(certificate, issuers: issuers)
        return switch kind ?? Kind(of: certificate) {
        case .leaf: subject.leafFindings()
        case .authority: subject.authorityFindings()
        }
    }
}

extension SVIDLint {
    /// The certificate with what several rules ask of it, decoded once.
    struct Subject {
        let certificate: Certificate
        let issuers: [Certificate]
        let identity: Result<SPIFFEID, CertificateIdentityError>
        let usage: KeyUsage?
        let purposes: ExtendedKeyUsage?
        let constraints: BasicConstraints?

        init(_ certificate: Certificate, issuers: [Certificate]) {
            self.certificate = certificate
            self.issuers = issuers
            do { identity = .success(try certificate.spiffeID()) } catch { identity = .failure(error) }
            usage = try? certificate.extensions.keyUsage
            purposes = try? certificate.extensions.extendedKeyUsage
            constraints = try? certificate.extensions.basicConstraints
        }

        func has(_ oid: ASN1ObjectIdentifier) -> Bool { certificate.extensions[oid: oid] != nil }

        /// In the file or on the wire but not decodable counts against the rule that needs it.
        func isUnreadable(_ oid: ASN1ObjectIdentifier, _ decoded: Any?) -> Bool { has(oid) && decoded == nil }

        func isCritical(_ oid: ASN1ObjectIdentifier) -> Bool { certificate.extensions[oid: oid]?.critical == true }

        func check(_ rule: String, _ holds: Bool, _ pass: String, _ fail: String) -> Finding {
            Finding(rule: rule, severity: holds ? .pass : .fail, message: holds ? pass : fail)
        }

        func pass(_ rule: String, _ message: String) -> Finding {
            Finding(rule: rule, severity: .pass, message: message)
        }
        func warn(_ rule: String, _ message: String) -> Finding {
            Finding(rule: rule, severity: .warn, message: message)
        }
        func fail(_ rule: String, _ message: String) -> Finding {
            Finding(rule: rule, severity: .fail, message: message)
        }
    }
}
