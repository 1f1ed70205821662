import ArgumentParser
import FoundationEssentials
import Glibc
import MeshAPI
import SPIFFE
import SwiftASN1
import WorkloadIdentity
import X509

/// `culvert ca mint`
struct CAMint: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mint",
        abstract: "Makes an SVID for the operator, for debugging or for a program outside the mesh.",
        discussion: """
            The key is made here and never leaves this machine: only a signing request goes to the authority. The SVID lives at \
            most as long as a pod's; the audit log keeps who it is for and why. Identities of Culvert itself \
            (spiffe://TRUST-DOMAIN/culvert/…) are not made this way.

            Files that exist are not overwritten unless --force is given. The key file has mode 0600.

            EXAMPLES
              culvert ca mint spiffe://example.org/ns/shop/sa/web --cert web.pem --key web.key --reason "ticket 4711"
              culvert ca mint spiffe://example.org/debug/ann --cert ann.pem --key ann.key --ttl 10m --reason "latency"
              culvert cert inspect --connect 10.244.1.2:15008 --cert ann.pem --key ann.key

            \(AdminOptions.exitStatus)
            """
    )

    @Argument(help: ArgumentHelp("Who the SVID says that its holder is.", valueName: "SPIFFE-ID"))
    var id: String

    @Option(help: ArgumentHelp("Where the certificates go, leaf first (PEM).", valueName: "file"))
    var cert: String

    @Option(help: ArgumentHelp("Where the key goes (PEM), of mode 0600.", valueName: "file"))
    var key: String

    @Option(help: .duration("How long it lives; by default, and at most, as long as a pod's."))
    var ttl: ArgumentDuration?

    @Option(help: ArgumentHelp("Why; one line, kept in the audit log.", valueName: "text"))
    var reason: String

    @Flag(help: "Overwrite files that exist.")
    var force = false

    @OptionGroup var admin: AdminOptions

    func validate() throws {
        guard cert != key else { throw ValidationError("--cert and --key are to be two files") }
        do { _ = try SPIFFEID(id) } catch { throw ValidationError("\(id): \(error)") }
        do { _ = try ActReason(reason) } catch { throw ValidationError("--reason: \(error)") }
    }

    func run() async throws {
        try await CommandFailure.reporting {
            try refuseToOverwrite()
            let identity = try SPIFFEID(id)
            let asked = try IdentityRequest(uri: id)
            let response = try await mint(asked)
            let certificates = try response.certificateChain.map { try Certificate(derEncoded: [UInt8]($0)) }
            do { _ = try X509SVID(certificates: certificates, privateKey: asked.key) } catch {
                throw CommandFailure("the authority's answer does not fit the key: \(error)")
            }
            guard let leaf = certificates.first, try leaf.spiffeID() == identity else {
                throw CommandFailure("the authority's answer names another identity")
            }
            // The key first: a certificate without its key is of no use, and a failure leaves no half that looks whole.
            try write(try asked.key.serializeAsPEM().pemString + "\n", to: key, mode: 0o600)
            try write(certificates.map { $0.pem() }.joined(), to: cert, mode: 0o644)
            report(response)
        }
    }

    private func mint(_ asked: IdentityRequest) async throws -> Culvert_Authority_V1_MintResponse {
        var serializer = DER.Serializer()
        try serializer.serialize(asked.csr)
        var request = Culvert_Authority_V1_MintRequest()
        request.spiffeID = id
        request.csr = Data(serializer.serializedBytes)
        request.ttlSeconds = UInt32(clamping: ttl?.value.components.seconds ?? 0)
        request.reason = reason
        return try await admin.callOperator { [request] client, options in
            try await client.mint(request, options: options)
        }
    }

    private func refuseToOverwrite() throws(CommandFailure) {
        guard !force else { return }
        for (path, option) in [(key, "--key"), (cert, "--cert")] where access(path, F_OK) == 0 {
            throw CommandFailure(
                "\(option): \(path) exists", hint: "name another file, or pass --force to overwrite it")
        }
    }

    private func write(_ text: String, to path: String, mode: mode_t) throws(CommandFailure) {
        do {
            if force {
                try PublishedFile.write(text, to: path, mode: mode)
            } else {
                try PublishedFile.create(text, at: path, mode: mode)
            }
        } catch {
            throw CommandFailure("\(error)")
        }
    }

    private func report(_ response: Culvert_Authority_V1_MintResponse) {
        func time(_ seconds: Int64) -> String { Date(wire: seconds).formatted(.iso8601) }
        var text = "\(id)\n  serial  \(response.serial)\n  until   \(time(response.notAfter))\n"
        if response.clampedFrom != 0 {
            text +=
                "warning: it was asked for until \(time(response.clampedFrom)), which is longer than the authority allows\n"
        }
        StandardError.write(text)
    }
}
