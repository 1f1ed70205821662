import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
public import IPAddressing
public import SPIFFE
import SwiftASN1
import Synchronization
public import X509

/// An attested node's calls to the authority, over mTLS with the node's SVID.
///
/// Calls are made while `run` runs, over one connection that is made again when lost. Each call has a deadline.
public final class AuthorityClient: Sendable {
    static let callTimeout = Duration.seconds(10)
    /// How often the authority is told of the node's leaves when nothing else happens.
    static let reportInterval = Duration.seconds(60)

    private let trustDomain: TrustDomain
    private let identity: ReplaceableIdentity
    private let verifier: ReplaceableVerifier
    private let check: PeerCheck
    private let client: GRPCClient<HTTP2ClientTransport.Posix>

    /// Throws when the TLS library does not take the SVID.
    public init(
        address: IPAddressing.SocketAddress, trustDomain: TrustDomain, svid: X509SVID, bundles: TrustBundleSet
    ) throws {
        self.trustDomain = trustDomain
        identity = try ReplaceableIdentity(svid)
        verifier = ReplaceableVerifier(bundles)
        check = try AuthorityConnection.check(trustDomain, verifier)
        let security = try HTTP2ClientTransport.Posix.TransportSecurity.mTLS(certificateReloader: identity) { [check] in
            AuthorityConnection.configure(&$0, check)
        }
        client = GRPCClient(transport: try AuthorityConnection.transport(to: address, security))
    }

    /// Keeps the connection until the task is cancelled.
    public func run() async throws {
        try await client.runConnections()
    }

    /// The node's SVID was renewed; the next connection proves it.
    public func replaceIdentity(with svid: X509SVID) throws { try identity.replace(with: svid) }

    /// The next connection is verified with these.
    public func replaceBundles(with bundles: TrustBundleSet) { verifier.replace(with: bundles) }

    /// A new chain for the node itself, leaf first.
    public func renewNode(csr: CertificateSigningRequest) async throws(AuthorityCallError) -> [Certificate] {
        var request = Culvert_Authority_V1_RenewNodeRequest()
        request.csr = try AuthorityConnection.der(csr)
        do {
            let response = try await service.renewNode(request, options: AuthorityConnection.callOptions)
            return try [Certificate](chain: response.certificateChain)
        } catch {
            throw AuthorityCallError(error, peerRefusal: check.lastRefusal)
        }
    }

    private var service: Culvert_Authority_V1_Authority.Client<HTTP2ClientTransport.Posix> {
        Culvert_Authority_V1_Authority.Client(wrapping: client)
    }
}

extension AuthorityClient: SVIDIssuer {
    public func issue(
        podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest
    ) async throws(IssuanceError) -> [Certificate] {
        do {
            var request = Culvert_Authority_V1_IssueSVIDRequest()
            request.podUid = podUID
            request.csr = try AuthorityConnection.der(csr)
            let response = try await service.issueSVID(request, options: AuthorityConnection.callOptions)
            let chain = try [Certificate](chain: response.certificateChain)
            // The authority decides; that it decided something else is for the operator to see, not to be used.
            guard try chain[0].spiffeID() == identity else {
                throw AuthorityCallError.invalidAnswer("it names another identity than \(identity) for pod \(podUID)")
            }
            return chain
        } catch {
            throw AuthorityCallError(error, peerRefusal: check.lastRefusal).issuanceError
        }
    }
}

extension AuthorityClient {
    /// Follows the trust bundle until the connection or the task ends; the caller calls again after a pause.
    ///
    /// `report` is asked at the start, after each `onBundle`, and every minute; its sequence is the bundle in use.
    public func followBundle(
        report: @escaping @Sendable () async -> BundleReport,
        onBundle: @escaping @Sendable (TrustBundle) async -> Void
    ) async throws(AuthorityCallError) {
        let (reports, outbox) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        outbox.yield()
        var options = CallOptions.defaults
        options.maxResponseMessageBytes = AuthorityTransport.messageBytesMax
        do {
            try await service.streamBundle(options: options) { writer in
                for await _ in reports {
                    try await writer.write(Culvert_Authority_V1_BundleAcknowledgement(await report()))
                }
            } onResponse: { [trustDomain] response in
                defer { outbox.finish() }
                let clock = Task {
                    while !Task.isCancelled {
                        try await Task.sleep(for: Self.reportInterval)
                        outbox.yield()
                    }
                }
                defer { clock.cancel() }
                for try await update in response.messages {
                    await onBundle(try TrustBundle(update.bundle, of: trustDomain))
                    outbox.yield()
                }
            }
        } catch {
            throw AuthorityCallError(error, peerRefusal: check.lastRefusal)
        }
    }
}
