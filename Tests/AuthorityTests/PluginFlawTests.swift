import Crypto
import FoundationEssentials
import RevocationFixtures
import SPIFFE
import SwiftASN1
import Testing
import X509
import _CryptoExtras

@testable import Authority

@Suite("A plug-in CA") struct PluginFlawTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let line: String
        let files: @Sendable () throws -> PluginFiles
        var testDescription: String { name }
    }

    /// A flaw of the certificates.
    private static func plan(
        _ name: String, _ line: String, _ change: @escaping @Sendable (inout PluginFixture) throws -> Void
    ) -> Case {
        Case(name: name, line: line) { try PluginFixture(change).made().files }
    }

    /// A flaw of the files.
    private static func files(
        _ name: String, _ line: String, _ change: @escaping @Sendable (inout PluginFixture.Made) throws -> Void
    ) -> Case {
        Case(name: name, line: line) {
            var made = try PluginFixture {
                $0.between = CAPlan("Between", now: PluginFixture.now, life: .seconds(86_400 * 90))
            }.made()
            try change(&made)
            return made.files
        }
    }

    private static let now = PluginFixture.now

    static let certificateFlaws: [Case] = [
        plan("signer that is no CA", "ca-cert.pem is not a CA (basicConstraints cA is not true)") {
            $0.signer.constraints = .notCertificateAuthority
        },
        plan("signer without basic constraints", "ca-cert.pem is not a CA (basicConstraints cA is not true)") {
            $0.signer.constraints = nil
        },
        plan("signer that may not sign", "ca-cert.pem may not sign certificates (key usage lacks keyCertSign)") {
            $0.signer.usage = KeyUsage(digitalSignature: true)
        },
        plan("signer without key usage", "ca-cert.pem may not sign certificates (key usage lacks keyCertSign)") {
            $0.signer.usage = nil
        },
        plan("signer without key identifier", "ca-cert.pem has no subject key identifier") {
            $0.signer.hasKeyIdentifier = false
        },
        plan("expired", "ca-cert.pem expired at 2025-12-31T23:59:59Z, and the clock says 2026-01-01T00:00:00Z") {
            $0.signer.notAfter = now.addingTimeInterval(-1)
        },
        plan(
            "not yet valid",
            "ca-cert.pem is valid from 2026-01-01T00:10:00Z only, and the clock says 2026-01-01T00:00:00Z"
        ) {
            $0.signer.notBefore = now.addingTimeInterval(600)
        },
        plan("outlives its root", "ca-cert.pem ends at 2026-01-31T00:00:00Z, after its issuer (2026-01-02T00:00:00Z)") {
            $0.root.notAfter = now.addingTimeInterval(86_400)
        },
        plan("expired root", "root-cert.pem: every root has expired, the last at 2025-12-31T23:59:59Z") {
            $0.root.notAfter = now.addingTimeInterval(-1)
        },
        plan("root with path length 0", "root-cert.pem allows 0 CAs below it, and there would be 1") {
            $0.root.constraints = .isCertificateAuthority(maxPathLength: 0)
        },
        plan(
            "intermediate with path length 0 above another",
            "cert-chain.pem, certificate 2, allows 0 CAs below it, and there would be 1"
        ) {
            $0.between = CAPlan("Between", now: now, life: .seconds(86_400 * 90))
            $0.between?.constraints = .isCertificateAuthority(maxPathLength: 0)
        },
        plan(
            "expired intermediate",
            "cert-chain.pem, certificate 2, expired at 2025-12-31T23:59:59Z, and the clock says 2026-01-01T00:00:00Z"
        ) {
            $0.between = CAPlan("Between", now: now, life: .seconds(-1))
        },
        plan("another trust domain's name", "ca-cert.pem is of spiffe://other.test, not of trust domain culvert.test") {
            $0.signer.uris = ["spiffe://other.test"]
        },
        plan("a workload's name", "ca-cert.pem is of spiffe://culvert.test/ns/a, not of trust domain culvert.test") {
            $0.signer.uris = ["spiffe://culvert.test/ns/a"]
        },
        plan(
            "a root of another trust domain",
            "root-cert.pem is of spiffe://other.test, not of trust domain culvert.test"
        ) {
            $0.root.uris = ["spiffe://other.test"]
        },
        plan(
            "RSA of 1024 bits",
            "ca-cert.pem: certificate 1 cannot be decoded, or its key is too small or of an unknown kind"
        ) {
            $0.signer.key = .init(try _RSA.Signing.PrivateKey(unsafePEMRepresentation: weakKey))
        },
        plan(
            "SHA-1",
            "no peer would accept what this CA signs: no valid chain to an authority of culvert.test: certificate 2 is signed with an algorithm that is not accepted (SHA-1 or unknown)"
        ) {
            $0.root.key = .init(try _RSA.Signing.PrivateKey(keySize: .bits2048))
            $0.signer.algorithm = .sha1WithRSAEncryption
        },
        plan(
            "for servers only",
            "no peer would accept what this CA signs: no valid chain to an authority of culvert.test: certificate 2 is a CA whose extended key usage excludes"
        ) {
            $0.signer.more = [try .init(ExtendedKeyUsage([.serverAuth]), critical: false)]
        },
        plan("a critical extension that nobody knows", "no peer would accept what this CA signs: ") {
            $0.signer.more = [.init(oid: [1, 2, 3, 4], critical: true, value: [0x05, 0x00])]
        },
    ]

    static let fileFlaws: [Case] = [
        files("another's key", "ca-key.pem is not the key of the certificate in ca-cert.pem") {
            $0.files.key = file("ca-key.pem", try $0.root.keyPEM)
        },
        files("certificate and key swapped", "ca-cert.pem holds a private key: are two files swapped?") {
            ($0.files.certificate, $0.files.key) = (
                file("ca-cert.pem", try $0.signer.keyPEM), file("ca-key.pem", $0.signer.pem)
            )
        },
        files("certificate for a key", "ca-key.pem holds a certificate: are two files swapped?") {
            $0.files.key = file("ca-key.pem", $0.signer.pem)
        },
        files("signer and root swapped", "ca-key.pem is not the key of the certificate in ca-cert.pem") {
            ($0.files.certificate, $0.files.root) = (
                file("ca-cert.pem", $0.root.pem), file("root-cert.pem", $0.signer.pem)
            )
        },
        files("a root that is none", "root-cert.pem: certificate 1 is not self-signed, so it is no root") {
            $0.files.root = file("root-cert.pem", $0.signer.pem)
        },
        files(
            "the root of others",
            "cert-chain.pem, certificate 2, (CN=Between) leads to no root in root-cert.pem: neither a root nor the chain holds its issuer"
        ) {
            $0.files.root = file("root-cert.pem", try PluginFixture().made().root.pem)
            $0.files.chain = file("cert-chain.pem", $0.signer.pem + $0.between!.pem)
        },
        files(
            "a chain without its middle",
            "ca-cert.pem (CN=Example Signer) leads to no root in root-cert.pem: neither a root nor the chain holds its issuer"
        ) {
            $0.files.chain = file("cert-chain.pem", $0.root.pem)
        },
        files("a stranger in the chain", "cert-chain.pem: certificate 4 has no part in the chain") {
            $0.files.chain = file(
                "cert-chain.pem",
                $0.signer.pem + $0.between!.pem + $0.root.pem + (try PluginFixture().made().signer.pem))
        },
        files("an empty certificate", "ca-cert.pem is empty") { $0.files.certificate = file("ca-cert.pem", " \n") },
        files("an empty key", "ca-key.pem is empty") { $0.files.key = file("ca-key.pem", "") },
        files("no certificate", "ca-cert.pem holds no certificate: expected \"-----BEGIN CERTIFICATE-----\"") {
            $0.files.certificate = file("ca-cert.pem", "to be done\n")
        },
        files("no key", "ca-key.pem holds no private key: expected \"-----BEGIN PRIVATE KEY-----\"") {
            $0.files.key = file("ca-key.pem", "to be done\n")
        },
        files(
            "a certificate cut off",
            "ca-cert.pem: line 1: \"BEGIN CERTIFICATE\" has no \"END CERTIFICATE\" before the next block or the end"
        ) {
            $0.files.certificate = file("ca-cert.pem", String($0.signer.pem.dropLast(60)))
        },
        files(
            "a key cut off",
            "ca-key.pem: line 1: \"BEGIN PRIVATE KEY\" has no \"END PRIVATE KEY\" before the next block or the end"
        ) {
            $0.files.key = file("ca-key.pem", String(try $0.signer.keyPEM.dropLast(60)))
        },
        files("a root cut off in its body", "root-cert.pem: certificate 1 cannot be decoded") {
            let lines = $0.root.pem.split(separator: "\n")
            $0.files.root = file("root-cert.pem", (lines[..<3] + [lines[lines.count - 1]]).joined(separator: "\n"))
        },
        files("something behind the certificate", "ca-cert.pem: something other than PEM follows the last block") {
            $0.files.certificate = file("ca-cert.pem", $0.signer.pem + "MIIB\n")
        },
        files("something behind the key", "ca-key.pem: something other than PEM follows the last block") {
            $0.files.key = file("ca-key.pem", try $0.signer.keyPEM + "garbage")
        },
        files("bytes behind the certificate, inside the block", "ca-cert.pem: certificate 1 cannot be decoded") {
            let der = $0.signer.certificate.der() + [0]
            $0.files.certificate = file("ca-cert.pem", PEMDocument(type: "CERTIFICATE", derBytes: der).pemString)
        },
        files("DER", "ca-cert.pem is DER, not PEM") {
            $0.files.certificate = .init(name: "ca-cert.pem", bytes: $0.signer.certificate.der())
        },
        files("a request", "ca-cert.pem, line 1: a CERTIFICATE REQUEST does not belong here") {
            $0.files.certificate = file(
                "ca-cert.pem", PEMDocument(type: "CERTIFICATE REQUEST", derBytes: try request()).pemString)
        },
        files("a key in the chain", "cert-chain.pem holds a private key: are two files swapped?") {
            $0.files.chain = file("cert-chain.pem", try $0.signer.pem + $0.signer.keyPEM)
        },
        files("two keys", "ca-key.pem holds several private keys") {
            $0.files.key = file("ca-key.pem", try $0.signer.keyPEM + $0.root.keyPEM)
        },
        files("a key with a passphrase", "ca-key.pem is encrypted with a passphrase") {
            $0.files.key = file(
                "ca-key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
        },
        files("an old key with a passphrase", "ca-key.pem is encrypted with a passphrase") {
            $0.files.key = file(
                "ca-key.pem",
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"
            )
        },
        files("a key that is none", "ca-key.pem: the private key cannot be decoded, or is of an unknown kind") {
            $0.files.key = file("ca-key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        },
        files(
            "lists of others",
            "ca-crl.pem: list 1 is signed by no CA of the chain, or by one that may not (key usage cRLSign)"
        ) {
            $0.files.revocations = file("ca-crl.pem", try PluginFixture().made().root.list(RevocationPlan(now: now)))
        },
        files(
            "a list of tomorrow",
            "ca-crl.pem: a list is of 2026-01-02T00:00:00Z, and the clock says 2026-01-01T00:00:00Z"
        ) {
            var plan = RevocationPlan(now: now)
            plan.thisUpdate = now.addingTimeInterval(86_400)
            $0.files.revocations = file("ca-crl.pem", try $0.signer.list(plan))
        },
        files("a list that is none", "ca-crl.pem: no revocation list; expected \"-----BEGIN X509 CRL-----\"") {
            $0.files.revocations = file("ca-crl.pem", "to be done\n")
        },
        files(
            "a list that revokes the signer",
            "no peer would accept what this CA signs: no valid chain to an authority of culvert.test: certificate 2 was revoked on 2025-12-31T23:59:00Z"
        ) {
            $0.files.revocations = file(
                "ca-crl.pem", try $0.between!.list(RevocationPlan(now: now, revoking: $0.signer.certificate)))
        },
    ]

    @Test("is refused whole, in one line that names file and flaw", arguments: certificateFlaws + fileFlaws)
    func refused(row: Case) throws {
        let files = try row.files()
        let flaw = #expect(throws: PluginFlaw.self) { try files.validated() }
        let line = flaw.map { "\($0)" } ?? "accepted"
        #expect(line.hasPrefix(row.line), "\(line)")
        #expect(!line.contains("\n"))
    }

    @Test("is refused wherever one of its files is cut off")
    func cutOff() throws {
        let made = try PluginFixture().made()
        for (path, bytes) in [
            (\PluginFiles.certificate, made.files.certificate.bytes), (\.key, made.files.key.bytes),
            (\.root, made.files.root.bytes),
        ] {
            // The last line feed may be missing.
            for length in stride(from: 0, to: bytes.count - 1, by: 7) {
                var files = made.files
                files[keyPath: path] = .init(name: "cut.pem", bytes: Array(bytes[..<length]))
                #expect(throws: PluginFlaw.self) { try files.validated() }
            }
        }
    }

    /// Below what swift-crypto makes.
    private static let weakKey = """
        -----BEGIN RSA PRIVATE KEY-----
        MIICXgIBAAKBgQDM5kV0s3ChhLIM5hZ9JEUs7xtssLV8M86kKjrJO6D30Wxbom28
        GEaXEjGQ4xWLlEIVa3GTjVf37jmDznb8STO76vTwpncj1pOBnBLYha9Ijm4UeDSD
        Zln+GrAxVe7NsSecbfSAU7t0VXNt+32MZXr5kuk031JkqV5ZqQa7u2fwqwIDAQAB
        AoGAdFE0lK9Y/RgrS49CrP/uFTgXxXf7TurKH/+pJ5umIYjNjqeCzAir6g71/F4t
        WPNtIGPCMhVHHwQpul12xnl31+3LUzpB9/0t128PDYwCuFdt/73sj/LeYuvVEpwf
        PDKLqO+XCYBIFSSZOHQoV9jyetFjQpaF4S+3O6E1yUxQ4aECQQDqZe/WazmVd6ve
        /wtkdb1PRWhvHorb1S+trcL6UGbAFCAItKxIlGg0gx3FU3lKLcctTS0uojoykfeo
        VTuXYbr3AkEA38hiLnIDasRxNwvXu6HUY/hDXM++lGJAYxnWTrmQ50dRKRwYQKXs
        QFPHDOaH6Md1sZ3Do4dLe1ZBMO7clEB27QJBAKy4WLbDZDdDa55yiU6Jg+n51y6q
        bt/2g5+TPu18eXpoWgKQP7NryC2JwFI7ZFDI0tAK4pROblv9O2ULCVJPbZkCQQDL
        AGEoVt8IrJkzYTfbiws7gMvC1uXAf3x/KcIB+k4br9NNIqJRivLMy/Lmnf2uSbpX
        XJFLuADeKrnKpPROPEhlAkEAxR3dKeCXRCkTNXlv4pHF3JMaMZcu6YHnBJ1oj8Wq
        hET+VJdxILS0m84AaLP2/P5UxB5Krw2/bzXYLZBON2h3XA==
        -----END RSA PRIVATE KEY-----
        """
}
