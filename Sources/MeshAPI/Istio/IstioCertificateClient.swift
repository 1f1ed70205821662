import GRPCCore
import GRPCNIOTransportHTTP2Posix
import IPAddressing
public import SPIFFE
public import X509

/// Takes certificates from an authority that speaks Istio's CreateCertificate, istiod for one, for the workloads of this node.
///
/// Each call has a connection of its own, and reads token and roots anew: what was rotated counts at once, and nothing is
/// held open for a call every half of a certificate's life. The token is shown only to a server that the roots vouch for.
public struct IstioCertificateClient: Sendable {
    public struct Settings: Sendable {
        public var server: HostPort
        /// The name that the server's certificate must have; nil: where it is found.
        public var serverName: String?
        /// How the authority knows this cluster; nil: not said.
        public var clusterID: String?
        /// What to ask for; the authority may grant less.
        public var lifetime: Duration
        /// Read for each call. The token goes into `authorization`; nil: the authority asks for none.
        public var token: (@Sendable () throws -> String)?
        /// PEM; read for each call.
        public var roots: @Sendable () throws -> String

        public init(
            server: HostPort, serverName: String? = nil, clusterID: String? = nil,
            lifetime: Duration = .seconds(86400), token: (@Sendable () throws -> String)?,
            roots: @escaping @Sendable () throws -> String
        ) {
            self.server = server
            self.serverName = serverName
            self.clusterID = clusterID
            self.lifetime = lifetime
            self.token = token
            self.roots = roots
        }
    }

    private let settings: Settings

    public init(_ settings: Settings) { self.settings = settings }

    public func certificate(
        for identity: SPIFFEID, csr: CertificateSigningRequest
    ) async throws(IssuanceError) -> IstioCertificateAnswer {
        let metadata = try metadata()
        do {
            let request = try IstioCertificateRequest(csr: csr, identity: identity, lifetime: settings.lifetime)
            let transport = try transport(roots: Array(settings.roots().utf8))
            let response = try await withGRPCClient(transport: transport) { client in
                var options = AuthorityConnection.callOptions
                options.waitForReady = false
                return try await Istio_V1_Auth_IstioCertificateService.Client(wrapping: client).createCertificate(
                    request.message, metadata: metadata, options: options)
            }
            return try IstioCertificateAnswer(response)
        } catch {
            throw Self.issuanceError(error)
        }
    }

    /// What a failed call means for the next: a token may be rotated, and an authority that does not know a pod may yet hear of it.
    static func issuanceError(_ error: any Error) -> IssuanceError {
        guard let error = error as? RPCError else {
            return AuthorityCallError(error, peerRefusal: nil).issuanceError
        }
        let cause = error.cause.map { " (\($0))" } ?? ""
        let text = "\(error.code): \(error.message)\(cause)".shortened(to: 1024)
        switch error.code {
        case .invalidArgument, .permissionDenied, .failedPrecondition, .unimplemented, .outOfRange:
            return IssuanceError(.denied, text)
        case .unavailable, .deadlineExceeded, .cancelled:
            return IssuanceError(.unreachable, text)
        default:
            return IssuanceError(.retry(after: AuthorityDenial(error)?.retryAfter), text)
        }
    }

    private func metadata() throws(IssuanceError) -> Metadata {
        var metadata: Metadata = [:]
        if let read = settings.token {
            let text: String
            do { text = try read() } catch {
                throw IssuanceError(.retry(after: nil), "the token for the authority cannot be read: \(error)")
            }
            let token = text.utf8.drop { $0 <= 0x20 }.reversed().drop { $0 <= 0x20 }.reversed()
            guard !token.isEmpty, token.allSatisfy({ (0x21...0x7e).contains($0) }) else {
                throw IssuanceError(.retry(after: nil), "the token for the authority is empty, or more than one word")
            }
            metadata.addString("Bearer \(String(decoding: Array(token), as: UTF8.self))", forKey: "authorization")
        }
        if let clusterID = settings.clusterID { metadata.addString(clusterID, forKey: "clusterid") }
        return metadata
    }

    private func transport(roots: [UInt8]) throws -> HTTP2ClientTransport.Posix {
        let (host, port) = (settings.server.host, Int(settings.server.port))
        let target: any ResolvableTarget =
            switch settings.server.address?.family {
            case .v4?: .ipv4(address: host, port: port)
            case .v6?: .ipv6(address: host, port: port)
            case nil: .dns(host: host, port: port)
            }
        return try HTTP2ClientTransport.Posix(
            target: target,
            transportSecurity: .tls { tls in
                tls.trustRoots = .certificates([.bytes(roots, format: .pem)])
                tls.serverCertificateVerification = .fullVerification
            },
            config: .defaults { config in config.http2.authority = settings.serverName })
    }
}
