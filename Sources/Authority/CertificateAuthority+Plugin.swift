public import FoundationEssentials
internal import SPIFFE
internal import Synchronization
internal import X509

extension CertificateAuthority {
    /// At start: the set signs at once, as nobody else can.
    static func plugIn(
        _ files: PluginFiles, _ configuration: Configuration, store: any AuthorityStore, nodes: [NodeRecord], now: Date
    ) async throws(AuthorityError) -> ((plugin: PluggedIn, bundle: TrustBundle), RotationKeeper.Outcome) {
        var stored: StoredAuthorities
        do { stored = try await store.authorities() } catch { throw .store(error) }
        if let name = stored.trustDomain, name != configuration.trustDomain.name {
            throw .otherTrustDomain(stored: name, wanted: configuration.trustDomain.name)
        }
        guard !stored.records.contains(where: { $0.kind == .root && $0.sealedKey != nil }) else { throw .selfMade }
        let set: PluginAuthority
        do {
            set = try PluginAuthority.validated(
                files, trustDomain: configuration.trustDomain, leafLifetime: configuration.lifetimes.leaf,
                known: stored.records.map(\.certificate), now: now)
        } catch {
            throw .plugin(error)
        }
        var plugin = PluggedIn(set, stored: stored, nodes: nodes, now: now)
        let outcome = plugin.settle(
            stored.records, sequence: stored.sequence, published: nil, nodes: nodes,
            leafLifetime: configuration.lifetimes.leaf, now: now)
        let bundle = try bundle(of: outcome, configuration)
        do {
            try await store.apply(outcome.change(configuration.trustDomain, from: stored.sequence))
        } catch {
            throw .store(error)
        }
        stored = StoredAuthorities(
            trustDomain: configuration.trustDomain.name, records: outcome.records, sequence: outcome.sequence)
        return (
            (plugin, bundle),
            RotationKeeper.Outcome(
                state: RotationState(sequence: outcome.sequence), authorities: stored, effects: [],
                decision: .idle(until: nil))
        )
    }

    /// Without a plug-in CA: a root whose key is not here was never this authority's own.
    static func checkKind(of store: any AuthorityStore) async throws(AuthorityError) {
        let stored: StoredAuthorities
        do { stored = try await store.authorities() } catch { throw .store(error) }
        if stored.isPluggedIn { throw .pluggedIn }
    }

    func auditSigner() {
        let (signer, records) = state.withLock { ($0.signer, $0.authorities) }
        if let record = records.first(where: { $0.id == signer.id }) {
            audit(.authorityActivated(record.id, record.kind, notAfter: signer.notAfter))
        }
    }

    /// Puts a set of files in place of the one in force, if all of it is good; else nothing changes, and the audit trail says why.
    /// - Throws: `PluginFlaw` if it is refused, `AuthorityError` if the store failed: the next maintenance tries again then.
    public func replacePlugin(with files: PluginFiles) async throws {
        guard let present = state.withLock({ $0.plugin }) else { return }
        let known = state.withLock { $0.authorities.map(\.certificate) }
        let accepted: PluginAuthority
        do throws(PluginFlaw) {
            let set = try PluginAuthority.validated(
                files, trustDomain: trustDomain, leafLifetime: configuration.lifetimes.leaf, known: known,
                inForce: present.newest.revocations, now: clock())
            audit(.pluginAccepted(set.signer.id, notAfter: set.signer.notAfter))
            accepted = set
        } catch {
            pluginRefused(error)
            throw error
        }
        try await turnstile.pass { () async throws(AuthorityError) in
            state.withLock { state in
                state.plugin?.offer(accepted)
                state.pluginFlaw = nil
            }
            try await settlePlugin()
        }
    }

    /// The files could not even be read.
    public func pluginRefused(_ flaw: PluginFlaw) {
        state.withLock { $0.pluginFlaw = flaw }
        audit(.pluginRefused(flaw))
    }

    /// Takes every step that is due. Behind the turnstile.
    func settlePlugin() async throws(AuthorityError) {
        // Published, activated, and what was before it out: no more steps can follow on each other.
        for _ in 0..<4 {
            guard try await settlePluginOnce() else { return }
        }
    }

    private func settlePluginOnce() async throws(AuthorityError) -> Bool {
        let now = clock()
        let (before, records, sequence, nodes) = state.withLock {
            ($0.plugin, $0.authorities, $0.sequence, Array($0.nodes.values))
        }
        guard var plugin = before else { return false }
        let published = bundle.current
        let outcome = plugin.settle(
            records, sequence: sequence, published: published, nodes: nodes,
            leafLifetime: configuration.lifetimes.leaf, now: now)
        guard outcome.isChange || outcome.sequence != sequence else {
            // Whom it waits for and since when.
            state.withLock { $0.plugin = plugin }
            return false
        }
        let next = try Self.bundle(of: outcome, configuration)
        do { try await store.apply(outcome.change(trustDomain, from: sequence)) } catch { throw .store(error) }
        // First the bundle: nobody is to meet a leaf of a root that was not published.
        bundle.publish(next)
        state.withLock { state in
            state.plugin = plugin
            state.authorities = outcome.records
            state.sequence = outcome.sequence
            state.signer = plugin.inForce.signer
        }
        if let activated = outcome.activated {
            audit(.authorityActivated(activated.id, activated.kind, notAfter: plugin.inForce.signer.notAfter))
        }
        let laggards = plugin.laggards(nodes, now: now)
        if let waiting = plugin.next, !laggards.isEmpty {
            audit(.pluginWaits(AuthorityID(publicKey: waiting.signersRoot.publicKey), for: laggards))
        }
        return true
    }

    static func bundle(
        of outcome: PluggedIn.Outcome, _ configuration: Configuration
    ) throws(AuthorityError) -> TrustBundle {
        do {
            return try TrustBundle(
                trustDomain: configuration.trustDomain, authorities: outcome.certificates,
                revocations: outcome.revocations, sequence: outcome.sequence, refreshHint: configuration.refreshHint)
        } catch {
            throw .unfitCertificate("\(error)")
        }
    }

    /// What the operator sees of a plug-in CA; nil without one.
    func pluginStatus(now: Date) -> PluginStatus? {
        let (plugin, flaw, nodes) = state.withLock { ($0.plugin, $0.pluginFlaw, Array($0.nodes.values)) }
        guard let plugin else { return nil }
        return PluginStatus(
            signer: plugin.inForce.signer.id, notAfter: plugin.inForce.signer.notAfter,
            waitsFor: plugin.laggards(nodes, now: now), revoked: plugin.newest.revocations.reduce(0) { $0 + $1.count },
            revocationLists: plugin.newest.revocations.count, refused: flaw,
            warnings: plugin.newest.warnings(leafLifetime: configuration.lifetimes.leaf, now: now)
                + (plugin.isUnannounced
                    ? [
                        "the plug-in CA's root was put in place while the authority was down: nodes that do not have it need the new "
                            + "bundle.pem to connect"
                    ] : []))
    }
}

extension StoredAuthorities {
    /// The active root's key is in the hands of whoever made the plug-in CA.
    var isPluggedIn: Bool { records.contains { $0.kind == .root && $0.state == .active && $0.sealedKey == nil } }
}

/// A plug-in CA at one moment.
public struct PluginStatus: Sendable, Equatable {
    public let signer: AuthorityID
    /// The earliest end from the signing certificate to the root.
    public let notAfter: Date
    /// Nodes without the root of the set that is to sign next; empty when none waits.
    public let waitsFor: [NodeName]
    public let revoked: Int
    public let revocationLists: Int
    /// Why the files that lie there now are not in force.
    public let refused: PluginFlaw?
    public let warnings: [String]
}

extension PluginStatus: CustomStringConvertible {
    /// One line.
    public var description: String {
        var parts = ["signs until \(notAfter.iso8601)"]
        if revocationLists > 0 { parts.append("revocation lists: \(revocationLists), with \(revoked) revoked") }
        if !waitsFor.isEmpty {
            let names = waitsFor.prefix(5).map(\.description).joined(separator: ", ")
            parts.append("the next one waits for \(waitsFor.count) nodes to have its root: \(names)")
        }
        if let refused { parts.append("what lies there now is refused: \(refused)") }
        return parts.joined(separator: "; ")
    }
}

extension PluggedIn.Outcome {
    fileprivate func change(_ trustDomain: TrustDomain, from sequence: UInt64) -> AuthorityChange {
        AuthorityChange(
            trustDomain: trustDomain.name, upserts: upserts, removals: removals, expectedSequence: sequence,
            newSequence: self.sequence)
    }
}
