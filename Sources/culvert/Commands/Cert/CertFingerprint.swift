import ArgumentParser
import Crypto
import FoundationEssentials
import Glibc
import SPIFFE
import SwiftASN1
import X509

/// `culvert cert fingerprint`: SHA-256 of certificates and of their public keys.
struct CertFingerprint: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fingerprint",
        abstract: "Print the SHA-256 of certificates, or of their public keys.",
        discussion: """
            FILE is PEM or DER, or a SPIFFE bundle (JWKS). A certificate's fingerprint is
            that of its DER, as openssl and browsers show it. --of key is that of the
            public key alone (its SubjectPublicKeyInfo): it stays when the certificate is
            renewed with the same key, and a signing request has it too.

            EXAMPLES
              culvert cert fingerprint root.pem             one line: digest, file
              culvert cert fingerprint --bundle chain.pem   each certificate of it
              culvert cert fingerprint --of key --encoding base64 server.pem
                                                            for curl --pinnedpubkey
              culvert cert fingerprint --format json svid.pem |
                jq -r '.entries[].certificate_sha256'

            EXIT STATUS
              0   all fingerprints are printed
              2   not found, not readable, or no certificate in it
              64  wrong usage
            """
    )

    enum Part: String, ExpressibleByArgument, CaseIterable {
        case certificate, key
    }

    enum Encoding: String, ExpressibleByArgument, CaseIterable {
        case hex, base64

        func callAsFunction(_ digest: SHA256.Digest) -> String {
            switch self {
            case .hex: CertificateOutput.hexadecimal(digest)
            case .base64: Data(digest).base64EncodedString()
            }
        }
    }

    @Argument(help: ArgumentHelp("The file or directory to read; \"-\" is standard input.", valueName: "FILE|-|DIR"))
    var path: String

    @Option(help: "certificate or key; in JSON, both are always there.")
    var of: Part = .certificate

    @Option(help: "hex or base64.")
    var encoding: Encoding = .hex

    @Option(help: "text, json or yaml.")
    var format: AnswerFormat = .text

    @Flag(help: "Every certificate of a file, not only the first.")
    var bundle = false

    private struct Entry: Encodable {
        let source: CertificatePlace
        let subject: String
        /// `nil` for a signing request.
        let certificate: String?
        let key: String

        enum CodingKeys: String, CodingKey {
            case source, subject
            case certificate = "certificate_sha256"
            case key = "key_sha256"
        }
    }

    func run() async throws {
        try await CertificateAnswer.give {
            var collection = try CertificateCollection(at: path, everything: bundle)
            if format == .text && of == .certificate {
                collection.keepCertificates(otherwise: "a request has a key only: give --of key")
            }
            let entries = try collection.members.map(entry)
            let output =
                try format.document?.text(CertificateDocument(entries, of: collection))
                ?? entries.map { "\(of == .key ? $0.key : $0.certificate ?? "")  \($0.source)\n" }.joined()
            return CertificateAnswer(
                output: output, notes: collection.notes(ink: Ink(for: STDERR_FILENO)),
                status: (collection.problems.isEmpty ? InspectionStatus.well : .unreadable).rawValue)
        }
    }

    private func entry(_ member: CertificateCollection.Member) throws -> Entry {
        let subject: DistinguishedName
        let key: Certificate.PublicKey
        switch member.item {
        case .certificate(let certificate): (subject, key) = (certificate.subject, certificate.publicKey)
        case .request(let request): (subject, key) = (request.subject, request.publicKey)
        }
        return Entry(
            source: member.place, subject: CertificateNames.distinguished(subject),
            certificate: member.certificate.map { encoding(SHA256.hash(data: $0.der())) },
            key: encoding(SHA256.hash(data: try key.serializeAsPEM().derBytes)))
    }
}
