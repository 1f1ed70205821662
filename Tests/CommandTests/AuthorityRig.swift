import Authority
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import IPAddressing
import Logging
import MeshAPI
import SPIFFE
import Synchronization
import Testing
import WorkloadIdentity
import X509

@testable import culvert

/// Pods as a table that a test can change; each has a service account of its own name.
final class PodTable: PodRegistry {
    private let pods = Mutex<[String: RegisteredPod]>([:])

    func pod(uid: String) -> RegisteredPod? { pods.withLock { $0[uid] } }

    func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod? {
        pods.withLock { $0.values.first { $0.node == node && $0.serviceAccount == serviceAccount } }
    }

    func set(_ uid: String, on node: String, live: Bool = true) {
        let pod = RegisteredPod(uid: uid, node: node, namespace: "shop", serviceAccount: uid, live: live)
        pods.withLock { $0[uid] = pod }
    }
}

/// A whole authority: store, services over TLS on loopback, admin socket. Its clock can be put forward, the others' cannot.
final class AuthorityRig: Sendable {
    static let trustDomain: TrustDomain = {
        do { return try TrustDomain("culvert.test") } catch { fatalError("\(error)") }
    }()
    static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    let directory: String
    let pods: PodTable
    let authority: CertificateAuthority
    let nodes: IPAddressing.SocketAddress
    let attestation: IPAddressing.SocketAddress
    private let world: World

    /// What the authority is given and tells.
    private final class World: Sendable {
        let offset = Mutex<TimeInterval>(0)
        let stoppedAt = Mutex<Date?>(nil)

        var now: Date { stoppedAt.withLock { $0 } ?? Date() + offset.withLock { $0 } }
        let events = Mutex<[AuditEvent]>([])
    }

    private init(
        _ directory: String, _ pods: PodTable, _ authority: CertificateAuthority, _ world: World,
        _ nodes: IPAddressing.SocketAddress, _ attestation: IPAddressing.SocketAddress
    ) {
        (self.directory, self.pods, self.authority, self.world) = (directory, pods, authority, world)
        (self.nodes, self.attestation) = (nodes, attestation)
    }

    var adminSocket: String { "\(directory)/ca.sock" }
    var events: [AuditEvent] { world.events.withLock { $0 } }

    func advance(_ duration: Duration) { world.offset.withLock { $0 += duration / .seconds(1) } }

    /// The authority's time stands still until told to go on; buckets fill no more.
    func stopClock() { world.stoppedAt.withLock { $0 = Date() } }
    func startClock() { world.stoppedAt.withLock { $0 = nil } }

    /// What it serves: to nodes that have nothing but a token, and to attested ones.
    typealias Services = (attestation: [any RegistrableRPCService], nodes: [any RegistrableRPCService])

    private static func services(_ authority: CertificateAuthority) -> Services {
        ([NodeAttestationService(authority: authority)], [AuthorityService(authority: authority)])
    }

    static func running(
        limits: AuthorityLimits = AuthorityLimits(), lifetimes: AuthorityLifetimes = AuthorityLifetimes(),
        registry: (any PodRegistry)? = nil, nodeTokens: (any NodeTokenReviewer)? = nil,
        audit: @escaping AuditTrail = { _ in },
        serving services: (CertificateAuthority) -> Services = AuthorityRig.services,
        _ body: (AuthorityRig) async throws -> Void
    ) async throws {
        var template = Array("/tmp/culvert-rig-XXXXXX".utf8CString)
        let directory = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (pods, world) = (PodTable(), World())
        let home = try AuthorityDirectory(path: directory)
        var configuration = CertificateAuthority.Configuration(
            trustDomain: trustDomain, lifetimes: lifetimes, limits: limits)
        configuration.nodeTokens = nodeTokens
        let authority = try await CertificateAuthority.open(
            configuration, store: home.store, seal: home.seal, pods: registry ?? pods, clock: { world.now },
            audit: { event in
                world.events.withLock { $0.append(event) }
                audit(event)
            })
        let identity = try ReplaceableIdentity(try await authority.servingIdentity())
        let loopback = IPAddressing.SocketAddress(.loopback(.v4), port: 0)
        let attestation = try AuthorityTransport.attestation(at: loopback, identity: identity)
        let nodes = try AuthorityTransport.authority(
            at: loopback, identity: identity, trustDomain: trustDomain, grace: authority.configuration.nodeGrace,
            verifier: { PeerVerifier(bundles: TrustBundleSet([authority.bundle.current])) }, logger: silent)
        let services = services(authority)
        let servers = [
            GRPCServer(transport: attestation, services: services.attestation),
            GRPCServer(transport: nodes, services: services.nodes),
        ]
        try await withThrowingTaskGroup(of: Void.self) { group in
            for server in servers { group.addTask { try await server.serve() } }
            let admin = Task {
                try await AuthorityTransport.serve(
                    [AuthorityAdminService(authority: authority), NodeAdminService(authority: authority)],
                    unixSocket: "\(directory)/ca.sock", logger: silent)
            }
            let rig = AuthorityRig(
                directory, pods, authority, world, try await address(of: nodes), try await address(of: attestation))
            #expect(await eventually { access(rig.adminSocket, F_OK) == 0 })
            do {
                try await body(rig)
            } catch {
                Issue.record(error)
            }
            admin.cancel()
            _ = await admin.result
            // In an orderly way: a stream that arrives at a server which was cancelled is a fault of the library's.
            authority.bundle.finish()
            for server in servers { server.beginGracefulShutdown() }
            while (try? await group.next()) != nil {}
        }
    }

    private static func address(of transport: HTTP2ServerTransport.Posix) async throws -> IPAddressing.SocketAddress {
        let port = try #require(try await transport.listeningAddress.ipv4?.port)
        return IPAddressing.SocketAddress(.loopback(.v4), port: UInt16(port))
    }

    // MARK: Nodes

    func token(_ node: String) async throws -> String {
        try await authority.createJoinToken(node: NodeName(node)).token.text
    }

    /// The SVID with which a node begins.
    func attested(_ node: String) async throws -> X509SVID {
        let id = try SPIFFEID("spiffe://culvert.test/culvert/node/\(node)")
        let request = try IdentityRequest(uri: id.description)
        let attestation = try await NodeAttestor(address: attestation, bundle: authority.bundle.current)
            .attest(token: token(node), csr: request.csr)
        return try X509SVID(certificates: attestation.certificates, privateKey: request.key)
    }

    /// A node's connection while `body` runs.
    func calling(as svid: X509SVID, _ body: (AuthorityClient) async throws -> Void) async throws {
        let client = try AuthorityClient(
            address: nodes, trustDomain: Self.trustDomain, svid: svid,
            bundles: TrustBundleSet([authority.bundle.current]))
        let task = Task { try await client.run() }
        defer { task.cancel() }
        try await body(client)
        task.cancel()
        _ = await task.result
    }

    func record(_ node: String) throws -> NodeRecord? {
        let name = try NodeName(node)
        return authority.nodes.first { $0.name == name }
    }
}

extension AuthorityClient {
    /// The kind of failure with which an SVID for a pod of the rig is refused; nil when it is issued.
    func outcome(_ pod: String) async throws -> IssuanceError.Kind? {
        let id = try SPIFFEID("spiffe://culvert.test/ns/shop/sa/\(pod)")
        do throws(IssuanceError) {
            _ = try await issue(
                podUID: pod, identity: id, csr: try request(id), urgency: .firstUse)
            return nil
        } catch {
            return error.kind
        }
    }

    private func request(_ id: SPIFFEID) throws(IssuanceError) -> CertificateSigningRequest {
        do { return try IdentityRequest(uri: id.description).csr } catch { throw IssuanceError(.denied, "\(error)") }
    }

    /// The node's next SVID.
    func renewed(_ svid: X509SVID) async throws -> X509SVID {
        let request = try IdentityRequest(uri: svid.id.description)
        return try X509SVID(certificates: try await renewNode(csr: request.csr), privateKey: request.key)
    }
}

/// Whether `condition` comes true within half a minute.
func eventually(_ condition: () async throws -> Bool) async rethrows -> Bool {
    for _ in 0..<1500 {
        if try await condition() { return true }
        try? await Task.sleep(for: .milliseconds(20))
    }
    return false
}

extension CertificateAuthority {
    /// As this process, by itself.
    func rotate(_ command: RotationCommand) async throws(AuthorityError) -> RotationAnswer {
        try await rotate(command, by: .thisProcess)
    }
}
