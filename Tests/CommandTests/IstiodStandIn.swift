import Crypto
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import IPAddressing
import MeshAPI
import SPIFFE
import SwiftASN1
import SwiftProtobuf
import Synchronization
import Testing
import X509

/// Certificates as istiod makes them: a root, an intermediate, leaves without a key identifier that live a day.
struct IstioAuthority: Sendable {
    let root: Certificate
    let intermediate: Certificate
    private let rootKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
    private let key = Certificate.PrivateKey(P256.Signing.PrivateKey())

    init(_ name: String = "cluster.local") throws {
        func authority(
            _ name: String, _ key: Certificate.PublicKey, issuer: DistinguishedName?, signer: Certificate.PrivateKey
        ) throws -> Certificate {
            let subject = try DistinguishedName { OrganizationName(name) }
            return try Certificate(
                version: .v3, serialNumber: .init(), publicKey: key, notValidBefore: Date() - 120,
                notValidAfter: Date() + 10 * 86400, issuer: issuer ?? subject, subject: subject,
                extensions: Certificate.Extensions {
                    Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil))
                    Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                    SubjectKeyIdentifier(hash: key)
                }, issuerPrivateKey: signer)
        }
        root = try authority("\(name) root", rootKey.publicKey, issuer: nil, signer: rootKey)
        intermediate = try authority("\(name) signer", key.publicKey, issuer: root.subject, signer: rootKey)
    }

    func leaf(
        _ names: [GeneralName], _ key: Certificate.PublicKey, lifetime: TimeInterval = 86400
    ) throws -> Certificate {
        try Certificate(
            version: .v3, serialNumber: .init(), publicKey: key, notValidBefore: Date() - 120,
            notValidAfter: Date() + lifetime, issuer: intermediate.subject, subject: DistinguishedName(),
            extensions: Certificate.Extensions {
                Critical(KeyUsage(digitalSignature: true, keyEncipherment: true))
                try ExtendedKeyUsage([.serverAuth, .clientAuth])
                Critical(BasicConstraints.notCertificateAuthority)
                AuthorityKeyIdentifier(keyIdentifier: SubjectKeyIdentifier(hash: self.key.publicKey).keyIdentifier)
                Critical(SubjectAlternativeNames(names))
            }, issuerPrivateKey: self.key)
    }

    /// A server's certificate for `names`, with its intermediate and key.
    func server(_ names: [GeneralName]) throws -> ReplaceableIdentity.PEM {
        let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
        let chain = [try leaf(names, key.publicKey), intermediate]
        return .init(
            certificates: chain.map { $0.pem() }.joined(), key: try key.serializeAsPEM().pemString)
    }
}

/// Speaks CreateCertificate as istiod does, and is strict about what it is asked.
final class IstiodStandIn: Istio_V1_Auth_IstioCertificateService.ServiceProtocol {
    struct State: Sendable {
        var authority: IstioAuthority
        var roots: [Certificate]
        var token: String
        /// Given instead of a certificate, one for each call.
        var refusals: [RPCError] = []
        var namesInstead: String?
        var lifetime: TimeInterval = 86400
        var granted: [String] = []
        var unlike: [String] = []
    }

    let state: Mutex<State>

    init(_ authority: IstioAuthority, token: String) {
        state = Mutex(State(authority: authority, roots: [authority.root], token: token))
    }

    func createCertificate(
        request: ServerRequest<Istio_V1_Auth_IstioCertificateRequest>, context: ServerContext
    ) async throws -> ServerResponse<Istio_V1_Auth_IstioCertificateResponse> {
        let message = request.message
        let tokens = Array(request.metadata[stringValues: "authorization"])
        let cluster = Array(request.metadata[stringValues: "clusterid"])
        return try state.withLock { state in
            guard tokens == ["Bearer \(state.token)"] else {
                throw RPCError(code: .unauthenticated, message: "request authenticate failure")
            }
            if !state.refusals.isEmpty { throw state.refusals.removeFirst() }
            let asked = try CertificateSigningRequest(pemEncoded: message.csr)
            let names = asked.attributes.compactMap { try? ExtensionRequest($0) }.first?.extensions
            let identity = message.metadata.fields["ImpersonatedIdentity"]?.stringValue ?? ""
            // What ztunnel sends: no subject, one critical URI, a day.
            if !asked.subject.isEmpty { state.unlike.append("subject") }
            if names?[oid: .X509ExtensionID.subjectAlternativeName]?.critical != true { state.unlike.append("names") }
            if try names?.subjectAlternativeNames.map(Array.init) != [.uniformResourceIdentifier(identity)] {
                state.unlike.append("identity")
            }
            if message.validityDuration != 86400 { state.unlike.append("validity") }
            if cluster != ["Kubernetes"] { state.unlike.append("cluster") }
            state.granted.append(identity)
            let leaf = try state.authority.leaf(
                [.uniformResourceIdentifier(state.namesInstead ?? identity)], asked.publicKey, lifetime: state.lifetime)
            var answer = Istio_V1_Auth_IstioCertificateResponse()
            // A plug-in CA's cert-chain.pem often ends with its root.
            answer.certChain = [
                leaf.pem(), state.authority.intermediate.pem() + state.authority.root.pem(),
                state.roots.map { $0.pem() }.joined(),
            ]
            return ServerResponse(message: answer)
        }
    }

    /// Serves on loopback under `identity` while `body` runs, and ends in an orderly way.
    static func serving(
        _ service: any RegistrableRPCService, as identity: ReplaceableIdentity, _ body: (HostPort) async throws -> Void
    ) async throws {
        let transport = try AuthorityTransport.attestation(
            at: IPAddressing.SocketAddress(.loopback(.v4), port: 0), identity: identity)
        let server = GRPCServer(transport: transport, services: [service])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.serve() }
            defer { server.beginGracefulShutdown() }
            let port = try #require(try await transport.listeningAddress.ipv4?.port)
            try await body(#require(HostPort("127.0.0.1:\(port)")))
        }
    }
}
