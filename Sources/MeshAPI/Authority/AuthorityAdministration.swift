import GRPCCore
public import GRPCNIOTransportHTTP2Posix
public import IPAddressing
public import SPIFFE

/// How a workload that may administer the authority reaches it: over mTLS with its SVID.
public struct AuthorityAdministration: Sendable {
    public let transport: HTTP2ClientTransport.Posix
    private let check: PeerCheck

    /// Throws when the TLS library does not take the SVID. The authority is recognised by `bundle`.
    public init(address: IPAddressing.SocketAddress, svid: X509SVID, bundle: TrustBundle) throws {
        let verifier = ReplaceableVerifier(TrustBundleSet([bundle]))
        let check = try AuthorityConnection.check(bundle.trustDomain, verifier)
        let security = try HTTP2ClientTransport.Posix.TransportSecurity.mTLS(
            certificateReloader: ReplaceableIdentity(svid)
        ) { AuthorityConnection.configure(&$0, check) }
        transport = try AuthorityConnection.transport(to: address, security)
        self.check = check
    }

    /// Why who answered is not the authority; nil if it is, or nobody did.
    public var refusal: String? { check.lastRefusal }
}
