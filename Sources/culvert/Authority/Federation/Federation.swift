import Authority
import FoundationEssentials
import Logging
import MeshAPI
import SPIFFE
import Synchronization

/// Keeps the bundles of the federated trust domains as their publishers have them, on disk and in the hands of all nodes.
///
/// The last good bundle stays in use whatever happens to its publisher. A domain that is configured no more is forgotten at the
/// next start.
final class Federation: Sendable {
    private let relationships: [FederationRelationship]
    private let file: FederatedBundleFile
    private let pace: FederatedBundle.Pace
    private let publish: @Sendable (TrustBundleSet) -> Void
    private let logger: Logger
    private let held: Mutex<[TrustDomain: Held]>

    private struct Held {
        var bundle: FederatedBundle
        var fetchedAt: Date?
        var failure: (reason: String, since: Date)?
    }

    /// One domain at this moment.
    struct Status: Sendable, Equatable {
        let trustDomain: TrustDomain
        let url: HTTPSURL
        /// nil until one was received.
        let bundle: TrustBundle?
        /// When it was last fetched and found good, if it was in this run.
        let fetchedAt: Date?
        /// Of the last attempt, if that failed.
        let problem: String?
        /// Since when every attempt has.
        let failingSince: Date?
    }

    /// `publish` is called with all of them, the first time at once with those of an earlier run.
    init(
        _ relationships: [FederationRelationship], of trustDomain: TrustDomain, file: FederatedBundleFile,
        pace: FederatedBundle.Pace = FederatedBundle.Pace(), logger: Logger,
        publish: @escaping @Sendable (TrustBundleSet) -> Void
    ) throws(CommandFailure) {
        var names: Set<TrustDomain> = [trustDomain]
        for relationship in relationships where !names.insert(relationship.trustDomain).inserted {
            throw CommandFailure(
                relationship.trustDomain == trustDomain
                    ? "--federate: \(trustDomain) is this authority's own trust domain"
                    : "--federate: \(relationship.trustDomain) is there twice")
        }
        guard relationships.count <= TrustUpdate.federatedMax else {
            throw CommandFailure("--federate: at most \(TrustUpdate.federatedMax) trust domains can be federated")
        }
        for case .spiffe(_, let bundle) in relationships.map(\.profile) { try Self.check(bundle) }
        self.relationships = relationships
        self.file = file
        self.pace = pace
        self.logger = logger
        self.publish = publish
        var kept = TrustBundleSet()
        do {
            kept = try file.read()
        } catch {
            // It is fetched again; until then nobody of the domain is believed.
            logger.error("The kept federated bundles cannot be read", metadata: ["reason": "\(error)"])
        }
        held = Mutex(
            Dictionary(
                uniqueKeysWithValues: relationships.map {
                    (
                        $0.trustDomain,
                        Held(bundle: FederatedBundle($0.trustDomain, kept: kept[$0.trustDomain]))
                    )
                }))
        publish(bundles)
    }

    var bundles: TrustBundleSet { TrustBundleSet(held.withLock { $0.values.compactMap(\.bundle.bundle) }) }

    /// In the order in which they are configured.
    var statuses: [Status] {
        let held = held.withLock { $0 }
        return relationships.map { relationship in
            let present = held[relationship.trustDomain]
            return Status(
                trustDomain: relationship.trustDomain, url: relationship.url, bundle: present?.bundle.bundle,
                fetchedAt: present?.fetchedAt, problem: present?.failure?.reason,
                failingSince: present?.failure?.since)
        }
    }

    /// Until cancelled.
    func run() async {
        await withDiscardingTaskGroup { group in
            for relationship in relationships { group.addTask { await self.follow(relationship) } }
        }
    }

    private func follow(_ relationship: FederationRelationship) async {
        var problem: String?
        while !Task.isCancelled {
            let found = await look(relationship)
            if let found, found != problem {
                logger.error(
                    "Federated bundle not renewed, the last good one stays in use",
                    metadata: ["trustDomain": "\(relationship.trustDomain)", "reason": "\(found)"])
            } else if found == nil, problem != nil {
                logger.info(
                    "Federated bundle is followed again", metadata: ["trustDomain": "\(relationship.trustDomain)"])
            }
            problem = found
            let pause = held.withLock {
                $0[relationship.trustDomain]?.bundle.nextLook(pace, draw: .random(in: 0..<1))
            }
            guard (try? await Task.sleep(for: pause ?? pace.least)) != nil else { return }
        }
    }

    /// What went wrong, if anything did.
    private func look(_ relationship: FederationRelationship) async -> String? {
        let domain = relationship.trustDomain
        do {
            let document = try await endpoint(relationship).fetch()
            let outcome = held.withLock { $0[domain]?.bundle.received(document) ?? .unchanged }
            if case .refused(let reason) = outcome { return noted(reason, domain) }
            if outcome == .changed { changed(domain) }
            return noted(nil, domain)
        } catch {
            held.withLock { $0[domain]?.bundle.failed() }
            return noted("\(error)", domain)
        }
    }

    private func noted(_ problem: String?, _ domain: TrustDomain) -> String? {
        let now = Date()
        held.withLock { held in
            if let problem {
                let since = held[domain]?.failure?.since ?? now
                held[domain]?.failure = (problem, since)
            } else {
                held[domain]?.fetchedAt = now
                held[domain]?.failure = nil
            }
        }
        return problem
    }

    /// Kept before it is used, so that a restart does not fall back behind what nodes have seen.
    private func changed(_ domain: TrustDomain) {
        let bundles = bundles
        do {
            try file.write(bundles)
        } catch {
            logger.error("The federated bundles are in use but not kept", metadata: ["reason": "\(error)"])
        }
        logger.notice(
            "Federated bundle received",
            metadata: [
                "trustDomain": "\(domain)", "sequence": "\(bundles[domain]?.sequence ?? 0)",
                "authorities": "\(bundles[domain]?.authorities.count ?? 0)",
            ])
        publish(bundles)
    }

    private func endpoint(_ relationship: FederationRelationship) throws -> BundleEndpoint {
        let profile: BundleEndpoint.Profile
        switch relationship.profile {
        case .web(nil): profile = .web(rootsPEM: nil)
        case .web(let path?): profile = .web(rootsPEM: try TextFile.read(path))
        case .spiffe(let id, let path):
            let known = held.withLock { $0[id.trustDomain]?.bundle.bundle }
            profile = .spiffe(id, TrustBundleSet([try known ?? Self.bundle(path, of: id.trustDomain)]))
        }
        return BundleEndpoint(url: relationship.url, profile: profile)
    }

    /// A JWKS document, or PEM.
    private static func bundle(_ path: String, of domain: TrustDomain) throws -> TrustBundle {
        let text = try TextFile.read(path)
        let isJSON = text.first { !$0.isWhitespace } == "{"
        return isJSON
            ? try TrustBundle(trustDomain: domain, jwks: text.utf8) : try TrustBundle(trustDomain: domain, pem: text)
    }

    private static func check(_ path: String) throws(CommandFailure) {
        do { _ = try bundle(path, of: TrustDomain("any")) } catch {
            throw CommandFailure("--federate: \(path): \(error)")
        }
    }
}
