import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import IPAddressing
import SPIFFE
import SwiftASN1
import Synchronization
import X509

/// What every connection from a node to the authority has in common.
enum AuthorityConnection {
    static var callOptions: CallOptions {
        var options = CallOptions.defaults
        options.timeout = AuthorityClient.callTimeout
        options.maxResponseMessageBytes = AuthorityTransport.messageBytesMax
        return options
    }

    /// Accepts `spiffe://<trust domain>/culvert/authority` and nobody else.
    static func check(_ trustDomain: TrustDomain, _ verifier: ReplaceableVerifier) throws -> PeerCheck {
        let authority = try SPIFFEID(trustDomain: trustDomain, path: "/culvert/authority")
        return PeerCheck(
            role: .server, verifier: { verifier.current },
            objection: { $0 == authority ? nil : "the server is \($0), not \(authority)" })
    }

    static func configure(_ tls: inout HTTP2ClientTransport.Posix.TransportSecurity.TLS, _ check: PeerCheck) {
        tls.serverCertificateVerification = .noHostnameVerification
        tls.trustRoots = .certificates([])
        tls.customVerificationCallback = { check($0, $1) }
    }

    static func transport(
        to address: IPAddressing.SocketAddress, _ security: HTTP2ClientTransport.Posix.TransportSecurity
    ) throws -> HTTP2ClientTransport.Posix {
        let host = "\(address.ip)"
        let target: any ResolvableTarget =
            switch address.ip.family {
            case .v4: .ipv4(address: host, port: Int(address.port))
            case .v6: .ipv6(address: host, port: Int(address.port))
            }
        return try HTTP2ClientTransport.Posix(
            target: target, transportSecurity: security,
            config: .defaults { config in
                config.backoff.initial = .milliseconds(100)
                config.backoff.max = .seconds(15)
                config.backoff.multiplier = 2
                config.connection.keepalive = HTTP2ClientTransport.Config.Keepalive(
                    time: .seconds(30), timeout: .seconds(10), allowWithoutCalls: true)
            })
    }

    static func der(_ csr: CertificateSigningRequest) throws(AuthorityCallError) -> Data {
        do {
            var serializer = DER.Serializer()
            try serializer.serialize(csr)
            return Data(serializer.serializedBytes)
        } catch {
            throw .invalidAnswer("the signing request does not serialise: \(error)")
        }
    }
}

/// The verifier in use; each handshake takes the newest.
final class ReplaceableVerifier: Sendable {
    private let verifier: Mutex<PeerVerifier>

    init(_ bundles: TrustBundleSet) { verifier = Mutex(PeerVerifier(bundles: bundles)) }

    var current: PeerVerifier { verifier.withLock { $0 } }

    func replace(with bundles: TrustBundleSet) { verifier.withLock { $0 = PeerVerifier(bundles: bundles) } }
}
