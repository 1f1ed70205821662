import ArgumentParser
import Glibc

/// `culvert cert inspect`: prints what certificates and signing requests say, and holds them against the SPIFFE
/// standard.
struct CertInspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Print certificates and signing requests, and check them against the X509-SVID standard.",
        discussion: """
            FILE is PEM or DER, or a SPIFFE bundle (JWKS). A directory is walked; what is
            no certificate there is named and skipped. Private keys are never printed.
            Nothing is verified without --roots.

            EXAMPLES
              culvert cert inspect svid.pem                 the first one, in full
              culvert cert inspect --bundle chain.pem       all of the file
              culvert cert inspect --format short /etc/ssl  a paragraph for each file
              culvert cert inspect --roots ca.pem svid.pem  valid under these roots?
              openssl s_client -connect 10.244.1.2:15008 -showcerts </dev/null |
                culvert cert inspect --bundle -             what a peer presents
              culvert cert inspect --format json svid.pem | jq '.entries[].spiffe_id'

            EXIT STATUS
              0   all shown is well
              2   not found, not readable, or no certificate in it
              3   a shown certificate has expired
              4   a shown certificate is not valid yet
              5   --roots was given and the chain does not verify
              6   a shown certificate breaks a MUST of the X509-SVID standard
              64  wrong usage
              When several of 2 to 6 apply, the first of them.
            """
    )

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text, short, json, pem
    }

    @Argument(help: ArgumentHelp("The file or directory to read; \"-\" is standard input.", valueName: "FILE|-|DIR"))
    var path: String

    @Option(help: "text, short, json or pem.")
    var format: Format = .text

    @Flag(help: "Show every certificate of a file, not only the first.")
    var bundle = false

    @Option(
        help: ArgumentHelp(
            "Verify the first certificate of each file under these roots (PEM or JWKS).", valueName: "FILE"))
    var roots: String?

    @OptionGroup var time: JudgedTime

    func run() async throws {
        try await CertificateAnswer.give {
            let inspection = try await inspection()
            return CertificateAnswer(
                output: try inspection.rendered(as: format, ink: Ink(for: STDOUT_FILENO)),
                notes: inspection.collection.notes(ink: Ink(for: STDERR_FILENO)), status: inspection.status.rawValue)
        }
    }

    private func inspection() async throws -> CertificateInspection {
        var verifier: CertificateRoots?
        if let roots { verifier = try CertificateRoots(CertificateSource.file(roots)) }
        let collection = try CertificateCollection(at: path, everything: bundle)
        return await CertificateInspection(collection, roots: verifier, now: time.date)
    }
}
