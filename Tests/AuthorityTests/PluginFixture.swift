import Crypto
import FoundationEssentials
import RevocationFixtures
import SPIFFE
import SwiftASN1
import X509
import _CryptoExtras

@testable import Authority

/// What a CA's certificate says. Begins as a good one; a test changes one thing and so names the flaw.
struct CAPlan {
    var name: String
    var key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    var notBefore: Date
    var notAfter: Date
    var constraints: BasicConstraints? = .isCertificateAuthority(maxPathLength: nil)
    var usage: KeyUsage? = KeyUsage(keyCertSign: true, cRLSign: true)
    var uris: [String] = []
    var hasKeyIdentifier = true
    var keyIdentifier: ArraySlice<UInt8>?
    var more: [Certificate.Extension] = []
    var algorithm: Certificate.SignatureAlgorithm?

    init(_ name: String, now: Date, life: Duration) {
        self.name = name
        notBefore = now.addingTimeInterval(-3600)
        notAfter = now.addingTimeInterval(Double(life.components.seconds))
    }

    func made(by issuer: MadeCA? = nil) throws -> MadeCA {
        let subject = try DistinguishedName { CommonName(name) }
        var extensions = Certificate.Extensions()
        if let constraints { try extensions.append(.init(constraints, critical: true)) }
        if let usage { try extensions.append(.init(usage, critical: true)) }
        if !uris.isEmpty {
            let names = SubjectAlternativeNames(uris.map { .uniformResourceIdentifier($0) })
            try extensions.append(.init(names, critical: false))
        }
        if hasKeyIdentifier {
            let own = keyIdentifier ?? SubjectKeyIdentifier(hash: key.publicKey).keyIdentifier
            try extensions.append(.init(SubjectKeyIdentifier(keyIdentifier: own), critical: false))
        }
        if let above = try issuer?.certificate.extensions.subjectKeyIdentifier {
            try extensions.append(.init(AuthorityKeyIdentifier(keyIdentifier: above.keyIdentifier), critical: false))
        }
        for member in more { try extensions.append(member) }
        let issuerKey = issuer?.key ?? key
        let certificate = try Certificate(
            version: .v3, serialNumber: .init(UInt64.random(in: 1...UInt64(Int64.max))), publicKey: key.publicKey,
            notValidBefore: notBefore, notValidAfter: notAfter, issuer: issuer?.certificate.subject ?? subject,
            subject: subject, signatureAlgorithm: algorithm ?? Self.algorithm(of: issuerKey), extensions: extensions,
            issuerPrivateKey: issuerKey)
        return MadeCA(certificate: certificate, key: key)
    }

    private static func algorithm(of key: Certificate.PrivateKey) -> Certificate.SignatureAlgorithm {
        switch PublicKeyKind(key.publicKey) {
        case .p384: .ecdsaWithSHA384
        case .p521: .ecdsaWithSHA512
        case .ed25519: .ed25519
        case .rsa: .sha256WithRSAEncryption
        default: .ecdsaWithSHA256
        }
    }
}

struct MadeCA {
    let certificate: Certificate
    let key: Certificate.PrivateKey

    var pem: String { certificate.pem() }
    var keyPEM: String { get throws { try key.serializeAsPEM().pemString + "\n" } }

    func list(_ plan: RevocationPlan) throws -> String {
        let der = try plan.der(issuer: certificate.subject, key: key)
        return PEMDocument(type: "X509 CRL", derBytes: der).pemString + "\n"
    }
}

/// A complete plug-in CA: root, perhaps something between, and the signing certificate.
struct PluginFixture {
    static let now = TestClock().now

    var root = CAPlan("Example Root", now: now, life: .seconds(86_400 * 365))
    var between: CAPlan?
    var signer = CAPlan("Example Signer", now: now, life: .seconds(86_400 * 30))

    struct Made {
        var root: MadeCA
        var between: MadeCA?
        var signer: MadeCA
        var files: PluginFiles
    }

    init(_ change: (inout PluginFixture) throws -> Void = { _ in }) rethrows { try change(&self) }

    func made() throws -> Made {
        let root = try root.made()
        let between = try between?.made(by: root)
        let signer = try signer.made(by: between ?? root)
        let chain = signer.pem + (between?.pem ?? "") + root.pem
        return Made(
            root: root, between: between, signer: signer,
            files: PluginFiles(
                certificate: file("ca-cert.pem", signer.pem), key: file("ca-key.pem", try signer.keyPEM),
                root: file("root-cert.pem", root.pem), chain: file("cert-chain.pem", chain)))
    }
}

func file(_ name: String, _ text: String) -> PluginFiles.File { .init(name: name, bytes: Array(text.utf8)) }

extension PluginFiles {
    func validated(
        leafLifetime: Duration = .seconds(3600), inForce: [RevocationList] = [], now: Date = PluginFixture.now
    ) throws(PluginFlaw) -> PluginAuthority {
        try PluginAuthority.validated(
            self, trustDomain: AuthorityFixture.trustDomain, leafLifetime: leafLifetime, inForce: inForce, now: now)
    }
}
