internal import FoundationEssentials
import HBONE
import SPIFFE

/// The TLS contexts of one identity for one generation of its certificate and of the trust bundle.
final class IdentityContexts: Sendable {
    let client: TLSContext
    let server: TLSContext
    /// The keys that the certificate depends on.
    let signers: [String]
    private let notAfter: Date

    var isExpired: Bool { notAfter <= Date() }

    init(svid: X509SVID, trust: PeerTrust, records: TLSRecords) throws {
        let chain = try svid.certificatesDER()
        let key = try svid.privateKeyDER()
        func context(_ role: TLSContext.Role) throws -> TLSContext {
            try TLSContext(role: role, certificateChainDER: chain, privateKeyDER: key, records: records) { chain in
                trust.verdict(chain, role: role == .client ? .client : .server)
            }
        }
        client = try context(.client)
        server = try context(.server)
        notAfter = svid.notAfter
        signers = svid.signers
    }
}
