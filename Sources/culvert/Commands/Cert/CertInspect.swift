import ArgumentParser
import Glibc

/// `culvert cert inspect`: prints what certificates and signing requests say, and holds them against the SPIFFE
/// standard.
struct CertInspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Print certificates and signing requests, and check them against the X509-SVID standard.",
        discussion: """
            FILE is PEM or DER, a SPIFFE bundle (JWKS), or the certificates.sock in the run
            directory of a proxy that runs. A directory is walked; what is no certificate
            there is named and skipped. Private keys are never printed. Nothing is verified
            without --roots.

            --connect makes a TLS handshake (ALPN h2) and shows the whole chain that the
            server sends, also when it then refuses us for want of a certificate. Our own
            is given with --cert and --key. Nothing is sent after the handshake.

            EXAMPLES
              culvert cert inspect svid.pem                 the first one, in full
              culvert cert inspect --bundle chain.pem       all of the file
              culvert cert inspect --format short /etc/ssl  a paragraph for each file
              culvert cert inspect --roots ca.pem svid.pem  valid under these roots?
              culvert cert inspect --bundle /run/culvert/certificates.sock   what pods have
              culvert cert inspect --connect 10.244.1.2:15008   what a server shows,
                --cert svid.pem --key svid.key --roots ca.pem   and does it let us in?
              culvert cert inspect --format json svid.pem | jq '.entries[].spiffe_id'

            EXIT STATUS
              0   all shown is well
              2   not found, not readable, no certificate in it, or no TLS there
              3   a shown certificate has expired
              4   a shown certificate is not valid yet
              5   --roots was given and the chain does not verify
              6   a shown certificate breaks a MUST of the X509-SVID standard
              64  wrong usage
              When several of 2 to 6 apply, the first of them.
            """
    )

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text, short, json, yaml, pem
    }

    @Argument(help: ArgumentHelp("The file or directory to read; \"-\" is standard input.", valueName: "FILE|-|DIR"))
    var path: String?

    @Option(
        help: ArgumentHelp(
            "Ask a TLS server instead: 10.0.0.1:15008, [fd00::1]:15008, name:443.", valueName: "HOST:PORT"))
    var connect: TLSEndpoint?

    @Option(help: ArgumentHelp("With --connect: our certificate, then its intermediates (PEM).", valueName: "FILE"))
    var cert: String?

    @Option(help: ArgumentHelp("With --connect: the key of --cert (PEM).", valueName: "FILE"))
    var key: String?

    @Option(help: ArgumentHelp("With --connect: how long it may take.", valueName: "DURATION"))
    var timeout = ArgumentDuration(.seconds(10))

    @Option(help: "text, short, json, yaml or pem.")
    var format: Format = .text

    @Flag(help: "Show every certificate of a file, not only the first.")
    var bundle = false

    @Option(
        help: ArgumentHelp(
            "Verify the first certificate of each file under these roots (PEM or JWKS).", valueName: "FILE"))
    var roots: String?

    @OptionGroup var time: JudgedTime

    func validate() throws {
        guard (path == nil) != (connect == nil) else {
            throw ValidationError("give either a FILE, \"-\" or DIR, or --connect HOST:PORT")
        }
        guard (cert == nil) == (key == nil) else { throw ValidationError("--cert and --key go together") }
        guard cert == nil || connect != nil else {
            throw ValidationError("--cert and --key are for --connect; --roots verifies a file")
        }
    }

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
        if let connect {
            let credentials = cert.flatMap { cert in key.map { TLSProbe.Credentials(certificates: cert, key: $0) } }
            let probe = TLSProbe(endpoint: connect, credentials: credentials, limit: timeout.value)
            let showing = try probe.run()
            return await CertificateInspection(
                CertificateCollection(chainDER: showing.chain, of: connect.text),
                connection: ConnectionReport(showing, of: probe), roots: verifier, now: time.date)
        }
        let collection = try CertificateCollection(at: path ?? "-", everything: bundle)
        return await CertificateInspection(collection, roots: verifier, now: time.date)
    }
}
