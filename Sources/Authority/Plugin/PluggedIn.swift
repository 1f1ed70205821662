internal import FoundationEssentials
internal import SPIFFE
internal import X509

/// A plug-in CA at work: which set signs, which one waits, and which roots verifiers are told. Decides; does no I/O.
///
/// - A set under another root signs once every live node has acknowledged a bundle with that root, and until then the present one does;
///   or when the present one has run out.
/// - A root that the files name no more stays in the bundle until no leaf under it can be alive. Who wants one of its CAs out at once
///   has it on a revocation list.
struct PluggedIn: Sendable {
    /// Signs.
    private(set) var inForce: PluginAuthority
    /// Waits for nodes to have its root.
    private(set) var next: PluginAuthority?
    /// The first bundle with the root, as far as is known.
    private var publishedIn: [AuthorityID: UInt64]
    private var unlistedSince: [AuthorityID: Date] = [:]
    /// It was put in place while the authority was down, and there were nodes already.
    let isUnannounced: Bool

    /// Of the clocks of nodes.
    static let skew: Duration = .seconds(120)

    /// At start: what is in the store was published in its bundle. There is nobody else to sign: the set does at once.
    init(_ set: PluginAuthority, stored: StoredAuthorities, nodes: [NodeRecord], now: Date) {
        inForce = set
        let known = stored.records.filter(\.isInBundle).map(\.id)
        publishedIn = Dictionary(known.map { ($0, stored.sequence) }) { first, _ in first }
        isUnannounced =
            !known.contains(AuthorityID(publicKey: set.signersRoot.publicKey)) && nodes.contains { $0.isLive(at: now) }
    }

    var newest: PluginAuthority { next ?? inForce }

    /// A set that was found good. What changes nothing about who signs is in force at once.
    mutating func offer(_ set: PluginAuthority) {
        let isSameSigner =
            set.signer.certificate == inForce.signer.certificate && set.signersRoot == inForce.signersRoot
        if isSameSigner { inForce = set }
        next = isSameSigner ? nil : set
    }

    /// Whom the next set waits for; empty when it need not.
    func laggards(_ nodes: [NodeRecord], now: Date) -> [NodeName] {
        guard let next, now < inForce.signer.notAfter else { return [] }
        guard let sequence = publishedIn[AuthorityID(publicKey: next.signersRoot.publicKey)] else {
            return nodes.filter { $0.isLive(at: now) }.map(\.name)
        }
        return nodes.filter { $0.isLive(at: now) && ($0.acknowledgement?.sequence ?? 0) < sequence }.map(\.name)
    }

    /// What is to be stored and published.
    struct Outcome {
        var records: [AuthorityRecord]
        var upserts: [AuthorityRecord]
        var removals: [AuthorityID]
        var certificates: [Certificate]
        var revocations: [RevocationList]
        var sequence: UInt64
        /// It signs from now on.
        var activated: AuthorityRecord?

        var isChange: Bool { !upserts.isEmpty || !removals.isEmpty || activated != nil }
    }

    /// The next step; the outcome changes nothing when there is none. `published` is nil at start, when nobody knows what nodes have.
    mutating func settle(
        _ records: [AuthorityRecord], sequence: UInt64, published: TrustBundle?, nodes: [NodeRecord],
        leafLifetime: Duration, now: Date
    ) -> Outcome {
        let activates = activateNext(nodes, now: now)
        let listed = self.listed
        var outcome = Outcome(
            records: [], upserts: [], removals: [], certificates: listed, revocations: newest.revocations,
            sequence: sequence)
        let listedIDs = Set(listed.map { AuthorityID(publicKey: $0.publicKey) })
        for var record in records {
            let before = record
            switch record.kind {
            case .root where listedIDs.contains(record.id):
                unlistedSince[record.id] = nil
                continue
            case .root where record.isInBundle:
                let since = unlistedSince[record.id] ?? now
                unlistedSince[record.id] = since
                record.state = now < since.advanced(by: leafLifetime + Self.skew) ? .old : .revoked
                if record.isInBundle { outcome.certificates.append(record.certificate) }
            case .root: break
            case .intermediate
            where record.certificate.notValidAfter < now.advanced(by: .zero - AuthoritySuccession.memory):
                outcome.removals.append(record.id)
                continue
            case .intermediate where record.id == inForce.signer.id: continue
            case .intermediate: record.state = .old
            }
            outcome.records.append(record)
            if record != before { outcome.upserts.append(record) }
        }
        outcome.take(rootRecords(listed, records, now: now) + signerRecord(records, now: now), from: records)
        if activates || published == nil { outcome.activated = outcome.records.first { $0.id == inForce.signer.id } }
        let isSame =
            published.map {
                Set($0.authorities) == Set(outcome.certificates) && Set($0.revocations) == Set(outcome.revocations)
            } ?? false
        if !isSame { outcome.sequence += 1 }
        for certificate in outcome.certificates {
            let id = AuthorityID(publicKey: certificate.publicKey)
            if publishedIn[id] == nil { publishedIn[id] = outcome.sequence }
        }
        return outcome
    }

    private mutating func activateNext(_ nodes: [NodeRecord], now: Date) -> Bool {
        guard let next, publishedIn[AuthorityID(publicKey: next.signersRoot.publicKey)] != nil,
            laggards(nodes, now: now).isEmpty
        else { return false }
        inForce = next
        self.next = nil
        return true
    }

    /// What the files name, and what signs as long as it does.
    private var listed: [Certificate] {
        let roots = newest.roots
        return roots.contains(inForce.signersRoot) ? roots : roots + [inForce.signersRoot]
    }

    private func rootRecords(_ listed: [Certificate], _ records: [AuthorityRecord], now: Date) -> [AuthorityRecord] {
        let active = AuthorityID(publicKey: inForce.signersRoot.publicKey)
        // Of several with one key the one that lives longest stands for all.
        let byKey = Dictionary(listed.map { (AuthorityID(publicKey: $0.publicKey), $0) }) { first, second in
            first.notValidAfter >= second.notValidAfter ? first : second
        }
        return byKey.sorted { $0.key < $1.key }.map { id, certificate in
            AuthorityRecord(
                id: id, kind: .root, state: id == active ? .active : .prepared, certificate: certificate,
                sealedKey: nil,
                createdAt: records.first { $0.id == id }?.createdAt ?? now.inWholeSeconds)
        }
    }

    /// None where the root itself signs.
    private func signerRecord(_ records: [AuthorityRecord], now: Date) -> [AuthorityRecord] {
        let signer = inForce.signer
        guard signer.certificate != inForce.signersRoot else { return [] }
        return [
            AuthorityRecord(
                id: signer.id, kind: .intermediate, state: .active, certificate: signer.certificate, sealedKey: nil,
                createdAt: records.first { $0.id == signer.id }?.createdAt ?? now.inWholeSeconds)
        ]
    }
}

extension PluggedIn.Outcome {
    fileprivate mutating func take(_ wanted: [AuthorityRecord], from records: [AuthorityRecord]) {
        self.records = wanted + self.records
        upserts += wanted.filter { !records.contains($0) }
    }
}

extension NodeRecord {
    /// It may be at work: its SVID is good.
    func isLive(at now: Date) -> Bool { !banned && expiresAt > now }
}
