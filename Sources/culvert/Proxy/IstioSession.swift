import Logging
import MeshAPI
import Observability
import SPIFFE
import Synchronization
import X509

/// The node's dealings with an authority that speaks Istio's CreateCertificate, such as istiod: it gives the workloads' identities,
/// and with each the roots of the mesh.
///
/// Peers are verified by the roots of the newest answer and those of the file by which the authority itself is recognised.
final class IstioSession: IdentitySource {
    struct Settings: Sendable {
        var trustDomain: TrustDomain
        var server: HostPort
        var serverName: String?
        var clusterID: String?
        var tokenFile: String?
        var rootsFile: String
    }

    /// How often the file is looked at.
    private static let interval = Duration.seconds(5)

    private struct Trust {
        var fromFile: [Certificate]
        var fromAnswer: [Certificate] = []
        var bundle: TrustBundle
    }

    private let settings: Settings
    private let client: IstioCertificateClient
    private let readiness: Readiness
    private let logger: Logger
    private let interval: Duration
    private let onTrust: @Sendable (TrustBundleSet) -> Void
    private let trust: Mutex<Trust>

    /// Throws when the file of roots is not one.
    init(
        settings: Settings, readiness: Readiness, logger: Logger, interval: Duration = IstioSession.interval,
        onTrust: @escaping @Sendable (TrustBundleSet) -> Void
    ) throws {
        self.settings = settings
        self.readiness = readiness
        self.logger = logger
        self.interval = interval
        self.onTrust = onTrust
        let bundle = try Self.roots(settings)
        trust = Mutex(Trust(fromFile: bundle.authorities, bundle: bundle))
        var token: (@Sendable () throws -> String)?
        if let path = settings.tokenFile { token = { () throws -> String in try TextFile.read(path) } }
        client = IstioCertificateClient(
            IstioCertificateClient.Settings(
                server: settings.server, serverName: settings.serverName, clusterID: settings.clusterID, token: token,
                roots: { () throws -> String in try IstioSession.roots(settings).pem() }))
    }

    var bundles: TrustBundleSet { TrustBundleSet([trust.withLock { $0.bundle }]) }

    func issue(
        podUID: String, identity: SPIFFEID, csr: CertificateSigningRequest, urgency: IssuanceUrgency
    ) async throws(IssuanceError) -> [Certificate] {
        let answer = try await client.certificate(for: identity, csr: csr)
        try accept(answer.roots)
        return answer.certificates
    }

    private func accept(_ roots: [Certificate]) throws(IssuanceError) {
        do {
            try change { $0.fromAnswer = roots }
        } catch {
            throw IssuanceError(.retry(after: nil), "the authority's roots cannot be used: \(error)")
        }
    }

    /// Such an authority names no tainted signers.
    func run(onTaint: @escaping @Sendable (Set<String>) async -> Void) async throws {
        onTrust(bundles)
        readiness.met(ProxyNode.Condition.authority)
        var problem: String?
        while true {
            try await Task.sleep(for: interval)
            let found = reload()
            if let found, found != problem {
                logger.error("The authority's roots stay as they were", metadata: ["reason": "\(found)"])
            }
            problem = found
        }
    }

    /// What is wrong with the file; nil: nothing.
    private func reload() -> String? {
        do {
            let bundle = try Self.roots(settings)
            try change { $0.fromFile = bundle.authorities }
            return nil
        } catch {
            return "\(error)"
        }
    }

    private func change(_ edit: (inout Trust) -> Void) throws(TrustBundleError) {
        let changed = try trust.withLock { (trust) throws(TrustBundleError) -> TrustBundleSet? in
            var next = trust
            edit(&next)
            let bundle = try TrustBundle(
                trustDomain: settings.trustDomain, authorities: next.fromAnswer + next.fromFile,
                sequence: trust.bundle.sequence + 1)
            guard Set(bundle.authorities) != Set(trust.bundle.authorities) else {
                (trust.fromFile, trust.fromAnswer) = (next.fromFile, next.fromAnswer)
                return nil
            }
            next.bundle = bundle
            trust = next
            return TrustBundleSet([bundle])
        }
        guard let changed else { return }
        logger.info(
            "Roots changed",
            metadata: ["roots": "\(changed[settings.trustDomain]?.authorities.count ?? 0)"])
        onTrust(changed)
    }

    private static func roots(_ settings: Settings) throws -> TrustBundle {
        try TrustBundle(trustDomain: settings.trustDomain, pem: TextFile.read(settings.rootsFile))
    }
}
