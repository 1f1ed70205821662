public import FoundationEssentials
public import GRPCCore
public import GRPCNIOTransportHTTP2Posix
public import IPAddressing
public import Logging
import NIOCore
public import SPIFFE
import X509

/// How the authority listens: gRPC over TLS, whose handshakes it decides itself.
public enum AuthorityTransport {
    /// In bytes: a signing request or a chain of certificates, many times over.
    public static let messageBytesMax = 1 << 20
    /// SVIDs that are asked for together.
    public static let requestsPerCallMax = 64
    /// Of strangers.
    static let connectionsMax = 1024
    /// Of nodes, each of which has one; what the process's limit of descriptors leaves room for.
    static let nodeConnectionsMax = 20_000
    static let streamsPerConnectionMax = 64
    /// A node's connection is renewed in this time, so that it proves an SVID that is still valid.
    static let connectionAgeMax = Duration.seconds(30 * 60)

    /// For nodes that have no SVID yet: they verify us, we ask for no certificate.
    public static func attestation(
        at address: IPAddressing.SocketAddress, identity: ReplaceableIdentity
    ) throws -> HTTP2ServerTransport.Posix {
        try attestation(at: address, identity: identity, connections: ConnectionGuard(limit: connectionsMax))
    }

    static func attestation(
        at address: IPAddressing.SocketAddress, identity: ReplaceableIdentity, connections: ConnectionGuard
    ) throws -> HTTP2ServerTransport.Posix {
        let security = try HTTP2ServerTransport.Posix.TransportSecurity.tls(certificateReloader: identity) { tls in
            tls.requireALPN = true
            tls.trustRoots = .certificates([])
        }
        return transport(at: address, security, connections)
    }

    /// For attested nodes: a client without a valid SVID of the trust domain does not get past the handshake.
    ///
    /// `verifier` is asked in each handshake. Who the caller is, `AuthorityCaller` says. For the time of `grace` after its end an SVID gets
    /// through the handshake still, so that the node can renew it: `AuthorityCaller` refuses it for everything else.
    public static func authority(
        at address: IPAddressing.SocketAddress, identity: ReplaceableIdentity, trustDomain: TrustDomain,
        grace: Duration = .zero, verifier: @escaping @Sendable () -> PeerVerifier, logger: Logger
    ) throws -> HTTP2ServerTransport.Posix {
        let check = PeerCheck(
            role: .client, grace: grace, verifier: verifier,
            objection: { id in
                id.trustDomain == trustDomain ? nil : "\(id) is not of this authority's trust domain \(trustDomain)"
            },
            onRefusal: { logger.warning("Authority refused a client", metadata: ["reason": "\($0)"]) })
        let security = try HTTP2ServerTransport.Posix.TransportSecurity.mTLS(certificateReloader: identity) { tls in
            tls.requireALPN = true
            tls.trustRoots = .certificates([])
            tls.clientCertificateVerification = .noHostnameVerification
            tls.customVerificationCallback = { check($0, $1) }
        }
        return transport(at: address, security, ConnectionGuard(limit: nodeConnectionsMax))
    }

    private static func transport(
        at address: IPAddressing.SocketAddress, _ security: HTTP2ServerTransport.Posix.TransportSecurity,
        _ connections: ConnectionGuard
    ) -> HTTP2ServerTransport.Posix {
        let host = "\(address.ip)"
        return HTTP2ServerTransport.Posix(
            address: address.ip.family == .v4
                ? .ipv4(host: host, port: Int(address.port)) : .ipv6(host: host, port: Int(address.port)),
            transportSecurity: security,
            config: .defaults { config in
                config.rpc.maxRequestPayloadSize = messageBytesMax
                config.http2.maxConcurrentStreams = streamsPerConnectionMax
                config.connection.maxIdleTime = .seconds(300)
                config.connection.maxAge = connectionAgeMax
                config.connection.maxGraceTime = .seconds(10)
                config.connection.keepalive.time = .seconds(60)
                config.connection.keepalive.clientBehavior.minPingIntervalWithoutCalls = .seconds(10)
                config.connection.keepalive.clientBehavior.allowWithoutCalls = true
                config.channelDebuggingCallbacks.onAcceptTCPConnection = { connections.admit($0) }
            }
        )
    }

    /// Serves its own user and root, and nobody else, on a Unix socket until the task is cancelled; services find the caller in
    /// `LocalPeer.current`.
    public static func serve(
        _ services: [any RegistrableRPCService], unixSocket path: String, logger: Logger
    ) async throws {
        let peers = LocalPeerCheck(onRefusal: { peer in
            logger.warning(
                "Admin connection refused",
                metadata: ["uid": "\(peer.map { "\($0.uid)" } ?? "unknown")", "pid": "\(peer?.pid ?? 0)"])
        })
        try await UnixSocketServer.serve(services, path: path, peers: peers)
    }
}

/// Who calls, proven in the handshake.
public struct AuthorityCaller: Hashable, Sendable {
    public let id: SPIFFEID
    /// Of the SVID that it showed; lower-case hexadecimal.
    public let serial: String
    /// The end of that SVID, where it is over.
    public let expiredAt: Date?

    /// Refuses a caller whose SVID has run out: since its handshake, or before it where the transport has a grace.
    public init(_ context: ServerContext, now: Date) throws(AuthorityDenial) {
        try self.init(evenExpired: context, now: now)
        guard expiredAt == nil else { throw AuthorityDenial(.expired, "the SVID of \(id) has expired: renew it first") }
    }

    /// For the call that renews an SVID, which decides itself for how long after its end it does so.
    public init(evenExpired context: ServerContext, now: Date) throws(AuthorityDenial) {
        guard let transport = context.transportSpecific as? HTTP2ServerTransport.Posix.Context,
            let certificate = transport.peerCertificate, let id = try? certificate.spiffeID()
        else { throw AuthorityDenial(.notAttested, "the call came without a node's certificate") }
        self.id = id
        expiredAt = now <= certificate.notValidAfter ? nil : certificate.notValidAfter
        serial = certificate.serial
    }
}
