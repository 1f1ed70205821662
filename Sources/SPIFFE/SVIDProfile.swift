public import FoundationEssentials
import SwiftASN1
public import X509

/// A rule that a certificate we are about to release breaks.
public struct SVIDViolation: Hashable, Sendable, CustomStringConvertible {
    /// `I1` to `I14`: the issue-side list of the SPIFFE dossier; `chain`: the issuer did not sign it.
    public let rule: String
    public let message: String

    public var description: String { "\(rule): \(message)" }
}

/// What an SVID of ours looks like. Stricter than the standard, which `SVIDLint` follows: it leaves no choices open.
public enum SVIDProfile {
    /// Every rule that the leaf breaks; empty means that it may leave the authority.
    ///
    /// What one certificate cannot show is the authority's to keep: that serial numbers never repeat (I5), and how a
    /// signing
    /// request is treated (I10 to I12).
    public static func violations(
        leaf: Certificate, issuer: Certificate, expectedNotBefore: Date? = nil
    ) -> [SVIDViolation] {
        var found: [SVIDViolation] = []
        func require(_ condition: Bool, _ rule: String, _ message: @autoclosure () -> String) {
            if !condition { found.append(SVIDViolation(rule: rule, message: message())) }
        }
        found += ownViolations(leaf)
        if issuer.extensions[oid: .X509ExtensionID.subjectKeyIdentifier] == nil {
            require(false, "I6", "the issuer has no subject key identifier")
        } else {
            let issuerKey = (try? issuer.extensions.subjectKeyIdentifier)?.keyIdentifier
            let named = (try? leaf.extensions.authorityKeyIdentifier)?.keyIdentifier
            require(named != nil && named == issuerKey, "I6", "the authority key identifier is not the issuer's")
        }
        require(
            leaf.notValidAfter <= issuer.notValidAfter, "I7",
            "outlives its issuer, which ends \(timestamp(issuer.notValidAfter))")
        if let expectedNotBefore {
            // Certificates hold whole seconds.
            require(
                abs(leaf.notValidBefore.timeIntervalSince(expectedNotBefore)) < 1, "I8",
                "begins \(timestamp(leaf.notValidBefore)), expected \(timestamp(expectedNotBefore))")
        }
        require(leaf.notValidBefore < leaf.notValidAfter, "I8", "ends before it begins")
        require(leaf.publicKey != issuer.publicKey, "I13", "its key is its issuer's")
        require(
            leaf.issuer == issuer.subject && issuer.publicKey.isValidSignature(leaf.signature, for: leaf), "chain",
            "the issuer did not sign it")
        return found
    }

    /// What can be seen on the leaf alone.
    static func ownViolations(_ leaf: Certificate) -> [SVIDViolation] {
        var found: [SVIDViolation] = []
        func require(_ condition: Bool, _ rule: String, _ message: @autoclosure () -> String) {
            if !condition { found.append(SVIDViolation(rule: rule, message: message())) }
        }
        do {
            let id = try leaf.spiffeID()
            require(!id.path.isEmpty, "I1", "the ID \(id) has no path")
        } catch {
            require(false, "I1", "\(error)")
        }
        keyUsage(leaf, require: require)
        let purposes = try? leaf.extensions.extendedKeyUsage
        require(
            purposes.map { $0.contains(.serverAuth) && $0.contains(.clientAuth) } ?? false, "I3",
            "extended key usage is not both serverAuth and clientAuth")
        var isNotAuthority = false
        if case .notCertificateAuthority? = try? leaf.extensions.basicConstraints { isNotAuthority = true }
        require(isNotAuthority, "I4", "basicConstraints does not say cA false")
        let serial = leaf.serialNumber.bytes
        // A twentieth octet with its top bit set needs a twenty-first in DER, to stay positive.
        let octets = serial.count + (serial.first.map { Int($0 >> 7) } ?? 0)
        require(
            serial.contains { $0 != 0 } && octets <= 20, "I5",
            "the serial number is not positive, or longer than 20 octets")
        let names = leaf.extensions[oid: .X509ExtensionID.subjectAlternativeName]
        require(
            names?.critical == leaf.subject.isEmpty, "I9",
            leaf.subject.isEmpty
                ? "without a subject, the alternative names are critical"
                : "with a subject, the alternative names are not critical")
        require(
            PublicKeyKind(leaf.publicKey).isAcceptable, "I12",
            "its key (\(PublicKeyKind(leaf.publicKey))) is weak or too large")
        require(hasProperTimes(leaf), "I14", "its times are not UTCTime until 2049 and GeneralizedTime from 2050")
        return found
    }

    private static func keyUsage(_ leaf: Certificate, require: (Bool, String, @autoclosure () -> String) -> Void) {
        guard let usage = try? leaf.extensions.keyUsage,
            let member = leaf.extensions[oid: .X509ExtensionID.keyUsage]
        else { return require(false, "I2", "key usage is missing or unreadable") }
        require(member.critical, "I2", "key usage is not critical")
        require(usage.digitalSignature, "I2", "key usage lacks digitalSignature")
        require(!usage.keyCertSign && !usage.cRLSign, "I2", "key usage lets it sign certificates or revocation lists")
        var isRSA = false
        if case .rsa = PublicKeyKind(leaf.publicKey) { isRSA = true }
        require(isRSA || !usage.keyEncipherment, "I2", "keyEncipherment is for RSA keys only")
    }

    /// RFC 5280 section 4.1.2.5. Read from the encoding, which the decoded dates no longer show.
    private static func hasProperTimes(_ certificate: Certificate) -> Bool {
        let year2050 = 2050
        let isProper = try? DER.sequence(DER.parse(certificate.tbsCertificateBytes), identifier: .sequence) { nodes in
            // version, serialNumber, signature, issuer, then validity
            var validity: ASN1Node?
            for _ in 0..<5 { validity = nodes.next() }
            while nodes.next() != nil {}
            guard let validity else { return false }
            return try DER.sequence(validity, identifier: .sequence) { times in
                var proper = true
                while let time = times.next() {
                    switch time.identifier {
                    case .utcTime:
                        let value = try UTCTime(derEncoded: time)
                        proper = proper && value.year < year2050
                    case .generalizedTime:
                        let value = try GeneralizedTime(derEncoded: time)
                        proper = proper && value.year >= year2050 && value.fractionalSeconds == 0
                    default: proper = false
                    }
                }
                return proper
            }
        }
        return isProper ?? false
    }
}
