import Authority
import IPAddressing
import Logging
import MeshAPI

/// Publishes this authority's bundle over HTTPS for those that federate with it: `--federation-listen`.
struct BundleEndpointService: Sendable {
    struct Settings: Sendable {
        let address: SocketAddress
        /// For clients that expect a certificate of the Web's PKI; nil: the authority's own SVID is shown.
        let certificate: CertificateFiles?
    }

    struct CertificateFiles: Sendable, Equatable {
        let certificate: String
        let key: String

        func read() throws -> ReplaceableIdentity.PEM {
            .init(certificates: try TextFile.read(certificate), key: try TextFile.read(key))
        }
    }

    /// How often the files of the certificate are looked at.
    private static let interval = Duration.seconds(10)

    let settings: Settings
    let authority: CertificateAuthority
    /// What the authority serves under elsewhere.
    let identity: ReplaceableIdentity
    let logger: Logger

    func run() async throws {
        let shown: ReplaceableIdentity
        do {
            shown = try settings.certificate.map { try ReplaceableIdentity(pem: $0.read()) } ?? identity
        } catch {
            throw CommandFailure("--federation-cert, --federation-key: \(error)")
        }
        let server: BundleEndpointServer
        do {
            server = try await BundleEndpointServer.listening(at: settings.address, identity: shown) {
                authority.bundle.current.jwks()
            }
        } catch {
            throw CommandFailure(
                "cannot serve the bundle on \(settings.address): \(error)",
                hint: "is another process listening there, or is the address not this machine's?")
        }
        logger.info(
            "Bundle endpoint serving",
            metadata: [
                "address": "\(settings.address)",
                "profile": "\(settings.certificate == nil ? "https_spiffe" : "https_web")",
            ])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            if let files = settings.certificate { group.addTask { await follow(files, shown) } }
            try await group.next()
            group.cancelAll()
        }
    }

    /// Until cancelled.
    private func follow(_ files: CertificateFiles, _ shown: ReplaceableIdentity) async {
        var known = try? files.read()
        var problem: String?
        while (try? await Task.sleep(for: Self.interval)) != nil {
            do {
                let pem = try files.read()
                if pem != known {
                    try shown.replace(with: pem)
                    logger.info("The bundle endpoint's certificate was replaced")
                }
                (known, problem) = (pem, nil)
            } catch {
                guard "\(error)" != problem else { continue }
                problem = "\(error)"
                logger.error("The bundle endpoint's certificate stays as it was", metadata: ["reason": "\(error)"])
            }
        }
    }
}
