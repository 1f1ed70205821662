import FoundationEssentials
import SPIFFE
import X509

/// By which roots a node recognises its authority: a value, without files or connections.
///
/// Two ways of knowing a root are trusted: the bundle that the authority itself sent last, and the file that the operator put on the node.
/// The file is read again whenever the authority is not reached, so that a node that was away while the root was replaced can be helped
/// by a newer file, without anything else. A root that the authority has withdrawn is never trusted again, whatever the file says: an old
/// file must not bring back what was revoked. Nothing is ever learned from a connection that did not verify.
struct NodeTrust: Sendable, Equatable {
    /// So many withdrawn roots are remembered; the ones that end last stay.
    static let withdrawnMax = 256

    enum Acceptance: Sendable, Equatable {
        case accepted
        /// Nothing in common with the one before: another authority, which the operator's file vouches for.
        case startsOver
        /// An old copy, or another content under the same sequence number: not used.
        case refused
    }

    /// What the operator put on the node.
    var file: TrustBundle
    /// What the authority sent last.
    private(set) var received: TrustBundle?
    /// What it sent once and does not any more.
    private(set) var withdrawn: [Certificate]

    init(file: TrustBundle, received: TrustBundle? = nil, withdrawn: [Certificate] = []) {
        self.file = file
        self.received = received
        self.withdrawn = withdrawn
    }

    /// The authority is recognised by any of these.
    var forAuthority: TrustBundle {
        get throws(TrustBundleError) {
            let vouchedFor = file.authorities.filter { !withdrawn.contains($0) }
            return try TrustBundle(
                trustDomain: file.trustDomain, authorities: (received?.authorities ?? []) + vouchedFor,
                sequence: received?.sequence ?? 0, refreshHint: received?.refreshHint)
        }
    }

    /// Peers are verified by these.
    var forPeers: TrustBundle { received ?? file }

    /// Keys of roots that the authority has withdrawn: what was signed under them is worth nothing to peers.
    var withdrawnKeys: Set<String> {
        Set(withdrawn.map(\.keyIdentifier)).subtracting((received?.authorities ?? []).map(\.keyIdentifier))
    }

    /// Whether the authority cannot know this node by `svid` any more, so that it closes the handshake without a word: its root was
    /// withdrawn, or the operator's file, which says something that the authority has not sent yet, does not have it.
    func disowns(_ svid: X509SVID, now: Date) -> Bool {
        let vouchedFor = file.authorities.filter { !withdrawn.contains($0) }
        let known = received?.authorities ?? []
        let isNews = vouchedFor.contains { !known.contains($0) }
        guard
            let bundle = try? TrustBundle(
                trustDomain: file.trustDomain, authorities: isNews ? vouchedFor : known + vouchedFor),
            let chain = try? svid.certificatesDER()
        else { return true }
        let verdict = PeerVerifier(bundles: TrustBundleSet([bundle])).verify(
            chainDER: chain, role: .client, now: min(now, svid.notAfter))
        if case .verified = verdict { return false }
        return true
    }

    /// A bundle that came over a connection to the authority, which `forAuthority` has recognised.
    mutating func accept(_ bundle: TrustBundle) -> Acceptance {
        guard let present = received else {
            take(bundle)
            return .accepted
        }
        guard present.authorities.contains(where: { bundle.authorities.contains($0) }) else {
            take(bundle)
            return .startsOver
        }
        switch present.succession(by: bundle) {
        case .older, .conflicting: return .refused
        case .unchanged, .newer:
            take(bundle)
            return .accepted
        }
    }

    private mutating func take(_ bundle: TrustBundle) {
        withdraw((received?.authorities ?? []).filter { !bundle.authorities.contains($0) })
        withdrawn.removeAll { bundle.authorities.contains($0) }
        received = bundle
    }

    private mutating func withdraw(_ roots: [Certificate]) {
        withdrawn += roots
        guard withdrawn.count > Self.withdrawnMax else { return }
        withdrawn = Array(withdrawn.sorted { $0.notValidAfter > $1.notValidAfter }.prefix(Self.withdrawnMax))
    }
}
