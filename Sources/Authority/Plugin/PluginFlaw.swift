public import FoundationEssentials
public import SPIFFE

/// Why a plug-in CA is refused, all of it: one line that names the file and what is wrong with it.
public enum PluginFlaw: Error, Sendable, Equatable, CustomStringConvertible {
    // The directory.
    case noFiles(String)
    case twoSpellings(String)
    case missing([String], of: [String])
    case unreadable(String, reason: String)
    case readableByAnybody(String)
    case tooLarge(String, bytes: Int)
    /// The files were replaced while they were read.
    case changing(String)

    // One file.
    case empty(String)
    case der(String)
    case pem(String, PEMError)
    case noCertificate(String)
    case unexpectedBlock(String, label: String, line: Int)
    case trailingText(String)
    case malformedCertificate(String, position: Int)
    case privateKeyAmongCertificates(String)
    case certificateInsteadOfKey(String)
    case noKey(String)
    case severalKeys(String)
    case keyEncrypted(String)
    case malformedKey(String)

    // One certificate.
    case unacceptableKey(String, PublicKeyKind)
    case notAnAuthority(String)
    case maySignNoCertificates(String)
    case noKeyIdentifier(String)
    case notYetValid(String, from: Date, now: Date)
    case expired(String, at: Date, now: Date)
    case foreignName(String, name: String, trustDomain: TrustDomain)
    case notARoot(String, position: Int)
    case tooManyRoots(Int)

    // All together.
    case keyMismatch(certificate: String, key: String)
    case noWayToRoot(String, subject: String, root: String)
    case tooManyIntermediates(limit: Int)
    case strangerInChain(String, position: Int)
    case outlivesIssuer(String, end: Date, issuerEnd: Date)
    case pathLength(String, allowed: Int, below: Int)
    case allRootsExpired(String, last: Date)
    case leavesRefused(String)

    // Revocation.
    case revocations(String, RevocationListFileError)
    case foreignRevocations(String, position: Int)
    case futureRevocations(String, from: Date, now: Date)
    case tooManyRevocations(String, String)
    case olderRevocations(String, inForce: Date, offered: Date)

    public var description: String {
        switch self {
        case .noFiles(let directory):
            "\(directory) holds no plug-in CA: neither ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem, nor "
                + "tls.crt, tls.key and ca.crt"
        case .twoSpellings(let directory):
            "\(directory) holds both ca-cert.pem and tls.crt or files beside them: leave one set"
        case .missing(let missing, let all):
            "\(missing.joined(separator: ", ")) of \(all.joined(separator: ", ")) \(missing.count == 1 ? "is" : "are") missing"
        case .unreadable(let file, let reason): "\(file) cannot be read: \(reason)"
        case .readableByAnybody(let file): "\(file) can be read by everybody"
        case .tooLarge(let file, let bytes): "\(file) has \(bytes) bytes, more than \(PluginFiles.bytesMax)"
        case .changing(let directory): "the files in \(directory) were replaced while they were read"
        case .empty(let file): "\(file) is empty"
        case .der(let file): "\(file) is DER, not PEM"
        case .pem(let file, let error): "\(file): \(error)"
        case .noCertificate(let file): "\(file) holds no certificate: expected \"-----BEGIN CERTIFICATE-----\""
        case .unexpectedBlock(let file, let label, let line): "\(file), line \(line): a \(label) does not belong here"
        case .trailingText(let file): "\(file): something other than PEM follows the last block"
        case .malformedCertificate(let file, let position):
            "\(file): certificate \(position) cannot be decoded, or its key is too small or of an unknown kind"
        case .privateKeyAmongCertificates(let file): "\(file) holds a private key: are two files swapped?"
        case .certificateInsteadOfKey(let file): "\(file) holds a certificate: are two files swapped?"
        case .noKey(let file): "\(file) holds no private key: expected \"-----BEGIN PRIVATE KEY-----\""
        case .severalKeys(let file): "\(file) holds several private keys"
        case .keyEncrypted(let file): "\(file) is encrypted with a passphrase"
        case .malformedKey(let file): "\(file): the private key cannot be decoded, or is of an unknown kind"
        case .unacceptableKey(let which, let kind):
            "\(which) has an unacceptable key (\(kind)): RSA 2048 to 8192, P-256, P-384, P-521 and Ed25519 are accepted"
        case .notAnAuthority(let which): "\(which) is not a CA (basicConstraints cA is not true)"
        case .maySignNoCertificates(let which): "\(which) may not sign certificates (key usage lacks keyCertSign)"
        case .noKeyIdentifier(let which): "\(which) has no subject key identifier"
        case .notYetValid(let which, let from, let now):
            "\(which) is valid from \(from.iso8601) only, and the clock says \(now.iso8601)"
        case .expired(let which, let end, let now):
            "\(which) expired at \(end.iso8601), and the clock says \(now.iso8601)"
        case .foreignName(let which, let name, let trustDomain):
            "\(which) is of \(name), not of trust domain \(trustDomain)"
        case .notARoot(let file, let position): "\(file): certificate \(position) is not self-signed, so it is no root"
        case .tooManyRoots(let count): "\(count) roots are too many"
        case .keyMismatch(let certificate, let key): "\(key) is not the key of the certificate in \(certificate)"
        case .noWayToRoot(let which, let subject, let root):
            "\(which) (\(subject)) leads to no root in \(root): neither a root nor the chain holds its issuer"
        case .tooManyIntermediates(let limit): "more than \(limit) certificates lead from the leaves to the root"
        case .strangerInChain(let file, let position): "\(file): certificate \(position) has no part in the chain"
        case .outlivesIssuer(let which, let end, let issuerEnd):
            "\(which) ends at \(end.iso8601), after its issuer (\(issuerEnd.iso8601))"
        case .pathLength(let which, let allowed, let below):
            "\(which) allows \(allowed) CAs below it, and there would be \(below)"
        case .allRootsExpired(let file, let last): "\(file): every root has expired, the last at \(last.iso8601)"
        case .leavesRefused(let reason): "no peer would accept what this CA signs: \(reason)"
        case .revocations(let file, let error): "\(file): \(error)"
        case .foreignRevocations(let file, let position):
            "\(file): list \(position) is signed by no CA of the chain, or by one that may not (key usage cRLSign)"
        case .futureRevocations(let file, let from, let now):
            "\(file): a list is of \(from.iso8601), and the clock says \(now.iso8601)"
        case .tooManyRevocations(let file, let reason): "\(file): \(reason)"
        case .olderRevocations(let file, let inForce, let offered):
            "\(file): a list of \(offered.iso8601) is older than the one in force (\(inForce.iso8601))"
        }
    }

    /// What the operator can do about it.
    public var hint: String? {
        switch self {
        case .noFiles, .missing:
            "certs/plugin-intermediate makes a complete set; certs/README.md says what each file is"
        case .readableByAnybody(let file): "chmod 600 \(file), or defaultMode: 0440 for a volume of a Kubernetes secret"
        case .der(let file): "openssl x509 -inform DER -in \(file) -out \(file).pem makes PEM of it"
        case .keyEncrypted(let file): "openssl pkey -in \(file) -out plain.pem takes the passphrase off"
        case .trailingText: "was the file cut off, or did two files run into each other?"
        case .changing: "try again"
        case .notYetValid, .expired, .futureRevocations: "check the clock (NTP); if it is right, have a new one signed"
        case .allRootsExpired:
            "check the clock (NTP); if it is right, a new root is needed, which every node has to be given"
        case .noKeyIdentifier: "have it signed anew with subjectKeyIdentifier = hash"
        default: nil
        }
    }
}
