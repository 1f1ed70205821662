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

@testable import culvert

/// An authority that serves nodes on loopback, whose time a test can choose: what it signed in the past has expired for everybody else.
struct ServingAuthority {
    /// How far its clock is from everybody else's.
    final class Clock: Sendable {
        private let offset = Mutex(TimeInterval(0))

        var read: WallClock { { Date().addingTimeInterval(self.offset.withLock { $0 }) } }
        func set(_ seconds: TimeInterval) { offset.withLock { $0 = seconds } }
    }

    final class Audit: Sendable {
        private let events = Mutex<[AuditEvent]>([])

        var all: [AuditEvent] { events.withLock { $0 } }
        func record(_ event: AuditEvent) { events.withLock { $0.append(event) } }
    }

    private struct Pods: PodRegistry {
        func pod(uid: String) -> RegisteredPod? {
            uid == "web-uid" ? RegisteredPod(uid: uid, node: "node-a", namespace: "shop", serviceAccount: "web") : nil
        }

        func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod? { nil }
    }

    static let domain: TrustDomain = {
        do { return try TrustDomain("td.test") } catch { fatalError("\(error)") }
    }()
    static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    let directory: String
    let clock = Clock()
    let audit = Audit()
    let authority: CertificateAuthority

    /// `offset`: where its clock stands at the start, from now.
    init(offset: TimeInterval = 0) async throws {
        directory = "/tmp/cvt-authority-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        mkdir(directory, 0o700)
        clock.set(offset)
        let home = try AuthorityDirectory(path: directory)
        let audit = audit
        authority = try await CertificateAuthority.open(
            .init(trustDomain: Self.domain), store: home.store, seal: home.seal, pods: Pods(), clock: clock.read,
            audit: { audit.record($0) })
    }

    struct Addresses {
        let nodes: IPAddressing.SocketAddress
        let attestation: IPAddressing.SocketAddress
    }

    /// While `body` runs.
    func serving(_ body: (Addresses) async throws -> Void) async throws {
        let identity = try ReplaceableIdentity(try await authority.servingIdentity())
        let loopback = SocketAddress(.loopback(.v4), port: 0)
        let attestation = try AuthorityTransport.attestation(at: loopback, identity: identity)
        let nodes = try AuthorityTransport.authority(
            at: loopback, identity: identity, trustDomain: Self.domain, grace: authority.configuration.nodeGrace,
            verifier: { [authority] in PeerVerifier(bundles: TrustBundleSet([authority.bundle.current])) },
            logger: Self.quiet)
        let servers = [
            GRPCServer(transport: attestation, services: [NodeAttestationService(authority: authority)]),
            GRPCServer(transport: nodes, services: [AuthorityService(authority: authority)]),
        ]
        try await withThrowingTaskGroup(of: Void.self) { group in
            for server in servers { group.addTask { try await server.serve() } }
            // In an orderly way: a stream that arrives at a server which was cancelled is a fault of the library's.
            defer {
                authority.bundle.finish()
                for server in servers { server.beginGracefulShutdown() }
            }
            try await body(
                Addresses(
                    nodes: try await Self.address(of: nodes), attestation: try await Self.address(of: attestation)))
        }
    }

    private static func address(of transport: HTTP2ServerTransport.Posix) async throws -> IPAddressing.SocketAddress {
        let port = try #require(try await transport.listeningAddress.ipv4?.port)
        return SocketAddress(.loopback(.v4), port: UInt16(port))
    }

    func remove() { removeTree(directory) }
}

private func removeTree(_ path: String) {
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: path) else { return }
    for name in names { unlink("\(path)/\(name)") }
    rmdir(path)
}
