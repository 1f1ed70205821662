import ArgumentParser
import Authority
import FoundationEssentials
import MeshAPI
import SPIFFE
import X509

/// `culvert ca bundle`
struct CABundle: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bundle",
        abstract: "Prints the trust bundle that is published now.",
        discussion: """
            It holds no secret: nodes recognise the authority by it. pem is what --ca-bundle of `culvert proxy run` takes; \
            spiffe is a JWK set as the SPIFFE standard wants it, with the sequence; json and yaml say what is in it, for programs.

            EXAMPLES
              culvert ca bundle > bundle.pem
              culvert ca bundle --format spiffe > bundle.json
              culvert ca bundle --format json | jq '.authorities[].notAfter'

            \(AdminOptions.exitStatus)
            """
    )

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case pem, spiffe, json, yaml
    }

    @Option(help: "pem, spiffe (a JWK set), json or yaml.")
    var format: Format = .pem

    @OptionGroup var admin: AdminOptions

    func run() async throws {
        try await CommandFailure.reporting {
            let answer = try await admin.callOperator { client, options in
                try await client.getBundle(.init(), options: options)
            }
            let bundle: TrustBundle
            do {
                bundle = try TrustBundle(answer.bundle, of: TrustDomain(answer.bundle.trustDomain))
            } catch {
                throw CommandFailure("\(error)")
            }
            print(try text(of: bundle), terminator: "")
        }
    }

    private func text(of bundle: TrustBundle) throws -> String {
        switch format {
        case .pem: bundle.pem()
        case .spiffe: bundle.jwks() + "\n"
        case .json: try DocumentFormat.json.text(BundleDocument(bundle))
        case .yaml: try DocumentFormat.yaml.text(BundleDocument(bundle))
        }
    }
}

/// What is in a bundle, for programs.
struct BundleDocument: Encodable {
    struct Authority: Encodable {
        /// Lower-case hexadecimal subject key identifier: what `culvert ca status` names it by.
        let id: String
        let subject: String
        let notBefore: Date
        let notAfter: Date
        let pem: String
    }

    /// Grows when a member changes its meaning or goes away; new members do not count.
    let schemaVersion = 1
    let trustDomain: String
    let sequence: UInt64
    let refreshHintSeconds: Int?
    let authorities: [Authority]

    init(_ bundle: TrustBundle) {
        trustDomain = bundle.trustDomain.name
        sequence = bundle.sequence
        refreshHintSeconds = bundle.refreshHint
        authorities = bundle.authorities.map { certificate in
            Authority(
                id: "\(AuthorityID(publicKey: certificate.publicKey))", subject: "\(certificate.subject)",
                notBefore: certificate.notValidBefore, notAfter: certificate.notValidAfter, pem: certificate.pem())
        }
    }
}
