import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import Synchronization
import Testing
import X509

@testable import Authority

#if canImport(Glibc)
    import Glibc
#endif

/// A time that moves only when told to.
final class TestClock: Sendable {
    private let current: Mutex<Date>

    init(_ start: Date = Date(timeIntervalSince1970: 1_767_225_600)) { current = Mutex(start) }

    var now: Date { current.withLock { $0 } }
    var read: WallClock { { self.now } }
    func advance(_ duration: Duration) { current.withLock { $0 = $0.advanced(by: duration) } }
}

/// Pods as a table that a test can change.
final class PodTable: PodRegistry {
    private let pods: Mutex<[String: RegisteredPod]>

    init(_ pods: [RegisteredPod] = PodTable.shop) {
        self.pods = Mutex(Dictionary(uniqueKeysWithValues: pods.map { ($0.uid, $0) }))
    }

    func pod(uid: String) -> RegisteredPod? { pods.withLock { $0[uid] } }
    func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod? {
        pods.withLock { pods in
            pods.values.first {
                $0.live && $0.node == node && $0.namespace == namespace && $0.serviceAccount == serviceAccount
            }
        }
    }
    func set(_ pod: RegisteredPod) { pods.withLock { $0[pod.uid] = pod } }

    static let shop = [
        RegisteredPod(uid: "web-uid", node: "node-a", namespace: "shop", serviceAccount: "web"),
        RegisteredPod(uid: "db-uid", node: "node-b", namespace: "shop", serviceAccount: "db"),
        RegisteredPod(uid: "gone-uid", node: "node-a", namespace: "shop", serviceAccount: "web", live: false),
    ]
}

final class AuditLog: Sendable {
    private let events = Mutex<[AuditEvent]>([])
    var all: [AuditEvent] { events.withLock { $0 } }
    var record: AuditTrail { { event in self.events.withLock { $0.append(event) } } }
}

/// A directory that goes away with the test.
final class TemporaryDirectory: Sendable {
    let path: String

    /// One that somebody else made.
    init(path: String) { self.path = path }

    init() {
        var template = Array("/tmp/culvert-authority-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { buffer in
            String(cString: mkdtemp(buffer.baseAddress!))
        }
    }

    deinit {
        for name in [
            "authority.sqlite", "authority.sqlite-wal", "authority.sqlite-shm", "authority.sqlite.lock",
            "authority.key",
        ] {
            unlink("\(path)/\(name)")
        }
        for name in ["root.pem", "intermediate.pem", "leaf.pem"] { unlink("\(path)/\(name)") }
        rmdir(path)
    }
}

/// An authority on a store of its own.
struct AuthorityFixture {
    let directory: TemporaryDirectory
    let clock: TestClock
    let pods: PodTable
    let audit = AuditLog()
    let store: SQLiteAuthorityStore
    let authority: CertificateAuthority

    static let trustDomain: TrustDomain = {
        do { return try TrustDomain("culvert.test") } catch { fatalError("\(error)") }
    }()

    init(
        directory: TemporaryDirectory = TemporaryDirectory(),
        clock: TestClock = TestClock(),
        pods: PodTable = PodTable(),
        lifetimes: AuthorityLifetimes = AuthorityLifetimes(),
        limits: AuthorityLimits = AuthorityLimits(),
        configured: (inout CertificateAuthority.Configuration) -> Void = { _ in }
    ) async throws {
        self.directory = directory
        self.clock = clock
        self.pods = pods
        let home = try AuthorityDirectory(path: directory.path)
        store = try #require(home.store as? SQLiteAuthorityStore)
        var configuration = CertificateAuthority.Configuration(trustDomain: Self.trustDomain)
        configuration.lifetimes = lifetimes
        configuration.limits = limits
        configured(&configuration)
        authority = try await CertificateAuthority.open(
            configuration, store: home.store, seal: home.seal, pods: pods, clock: clock.read, audit: audit.record)
    }

    /// A node that has just joined, with the SVID that it got.
    @discardableResult
    func join(_ node: String) async throws -> NodeCaller {
        let token = try await authority.createJoinToken(node: NodeName(node)).token
        return NodeCaller(
            try await authority.attestNode(token: token.text, csr: try request(), source: "test"))
    }

    /// The SVID of the pod on node-a.
    func webSVID(csr: [UInt8]? = nil) async throws -> IssuedSVID {
        let node = try await join("node-a")
        return try await authority.issue(podUID: "web-uid", csr: csr ?? request(), caller: node)
    }

    var bundles: TrustBundleSet { TrustBundleSet([authority.bundle.current]) }
    var root: Certificate { authority.bundle.current.authorities[0] }
}

/// A signing request in DER for a new P-256 key, or for `key`.
func request(
    key: Certificate.PrivateKey = Certificate.PrivateKey(P256.Signing.PrivateKey()),
    extensions: Certificate.Extensions? = nil
) throws -> [UInt8] {
    var attributes: [CertificateSigningRequest.Attribute] = []
    if let extensions { attributes.append(try .init(ExtensionRequest(extensions: extensions))) }
    let request = try CertificateSigningRequest(
        version: .v1,
        subject: DistinguishedName { CommonName("whatever the caller likes") },
        privateKey: key,
        attributes: .init(attributes)
    )
    var serializer = DER.Serializer()
    try serializer.serialize(request)
    return serializer.serializedBytes
}

extension NodeCaller {
    /// Who shows `svid`.
    init(_ svid: IssuedSVID) { self.init(id: svid.id, serial: svid.record.serial) }

    /// Somebody with an SVID of his own.
    init(stranger: String) throws { self.init(id: try SPIFFEID(stranger), serial: "5e1f") }
}

extension CertificateAuthority {
    /// As this process, by itself.
    func rotate(_ command: RotationCommand) async throws(AuthorityError) -> RotationAnswer {
        try await rotate(command, by: .thisProcess)
    }
}
