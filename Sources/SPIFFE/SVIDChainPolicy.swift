import FoundationEssentials
import SwiftASN1
import X509

/// What we ask of a chain beyond swift-certificates' `RFC5280Policy`, which ignores key usage, extended key usage and
/// hash functions.
///
/// Runs before that policy and repeats its checks of time and CA flag, because its reasons quote whole certificates.
/// Position 1 is the leaf; the last certificate is the trust anchor.
struct SVIDChainPolicy: VerifierPolicy {
    let purpose: ExtendedKeyUsage.Usage
    let now: Date
    /// By the name of their signer.
    let revocations: [DistinguishedName: [RevocationList]]

    let verifyingCriticalExtensions: [ASN1ObjectIdentifier] = [
        .X509ExtensionID.subjectAlternativeName, .X509ExtensionID.extendedKeyUsage,
    ]

    /// Everything that a critical extension may be anywhere in a chain: ours, and what `RFC5280Policy` understands.
    static let understoodExtensions: Set<ASN1ObjectIdentifier> = [
        .X509ExtensionID.subjectAlternativeName, .X509ExtensionID.extendedKeyUsage, .X509ExtensionID.basicConstraints,
        .X509ExtensionID.keyUsage, .X509ExtensionID.nameConstraints,
    ]

    private static let signatureAlgorithms: Set<Certificate.SignatureAlgorithm> = [
        .ecdsaWithSHA256, .ecdsaWithSHA384, .ecdsaWithSHA512, .ed25519, .sha256WithRSAEncryption,
        .sha384WithRSAEncryption, .sha512WithRSAEncryption,
    ]

    func chainMeetsPolicyRequirements(chain: UnverifiedCertificateChain) -> PolicyEvaluationResult {
        for (index, certificate) in chain.enumerated() {
            let isAnchor = index == chain.count - 1
            let problem =
                timeProblem(certificate)
                ?? (index > 0 ? issuerProblem(certificate, authoritiesBelow: index - 1, isAnchor: isAnchor) : nil)
                // An anchor is trusted by itself: its own signature is not looked at.
                ?? (isAnchor ? nil : signatureProblem(certificate))
                ?? (isAnchor ? nil : revocationProblem(certificate, issuer: chain[index + 1]))
            if let problem {
                let name = isAnchor ? "the authority" : "certificate \(index + 1)"
                return .failsToMeetPolicy(reason: "\(name) \(problem)")
            }
        }
        return .meetsPolicy
    }

    private func timeProblem(_ certificate: Certificate) -> String? {
        if now < certificate.notValidBefore { return "is valid only from \(timestamp(certificate.notValidBefore))" }
        if now > certificate.notValidAfter { return "expired at \(timestamp(certificate.notValidAfter))" }
        return nil
    }

    private func issuerProblem(_ certificate: Certificate, authoritiesBelow: Int, isAnchor: Bool) -> String? {
        guard case .isCertificateAuthority(let length)? = try? certificate.extensions.basicConstraints else {
            return "issued another certificate but is not a CA"
        }
        if let length, length < authoritiesBelow {
            return "has path length \(length) but \(authoritiesBelow) CAs below it"
        }
        // RFC 5280 section 6.1.4 (n): where the extension exists. An intermediate must have it (X509-SVID section 4.3).
        switch try? certificate.extensions.keyUsage {
        case let usage? where usage.keyCertSign: break
        case nil where isAnchor && certificate.extensions[oid: .X509ExtensionID.keyUsage] == nil: break
        default: return "issued another certificate but has no key usage keyCertSign"
        }
        guard !isAnchor, certificate.extensions[oid: .X509ExtensionID.extendedKeyUsage] != nil else { return nil }
        guard let purposes = try? certificate.extensions.extendedKeyUsage,
            purposes.contains(purpose) || purposes.contains(.any)
        else { return "is a CA whose extended key usage excludes \(purpose)" }
        return nil
    }

    /// RFC 5280 section 6.3.3, without fetching anything: a CA of which there is no list has revoked nothing. The list's signature is
    /// looked at only when it speaks against the certificate, so that lists cost the others nothing.
    private func revocationProblem(_ certificate: Certificate, issuer: Certificate) -> String? {
        for list in revocations[issuer.subject] ?? [] {
            if let entry = list.entry(for: certificate), list.isSigned(by: issuer) { return "was \(entry)" }
        }
        return nil
    }

    private func signatureProblem(_ certificate: Certificate) -> String? {
        Self.signatureAlgorithms.contains(certificate.signatureAlgorithm)
            ? nil : "is signed with an algorithm that is not accepted (SHA-1 or unknown)"
    }
}
