/// Other names of a trust domain, as Istio's `trustDomainAliases`: for a mesh that is being renamed, or that took in another.
///
/// A member of an alias proves itself by the domain's own roots, and `spiffe://<alias>/p` stands for `spiffe://<domain>/p`. Nobody
/// else's roots ever vouch for an alias, not even a bundle that was given for that very name: it could then name workloads of ours.
public struct TrustDomainAliases: Sendable, Equatable {
    public let trustDomain: TrustDomain
    /// Without the domain itself.
    public let aliases: Set<TrustDomain>

    public init(_ aliases: some Sequence<TrustDomain> = [], of trustDomain: TrustDomain) {
        self.trustDomain = trustDomain
        self.aliases = Set(aliases).subtracting([trustDomain])
    }

    /// `bundles`, with the domain's own roots under each alias; without roots of its own, with nothing under them.
    public func applied(to bundles: TrustBundleSet) -> TrustBundleSet {
        var result = bundles
        for alias in aliases {
            if let own = bundles[trustDomain] { result.insert(own.renamed(alias)) } else { result.remove(alias) }
        }
        return result
    }

    /// Whether a peer that has proven to be `peer` is one of those expected, under whichever of the domain's names.
    public func isOneOf(_ expected: [SPIFFEID], _ peer: SPIFFEID) -> Bool {
        if expected.contains(peer) { return true }
        guard !aliases.isEmpty, isOurs(peer.trustDomain) else { return false }
        return expected.contains { isOurs($0.trustDomain) && $0.path.utf8.elementsEqual(peer.path.utf8) }
    }

    private func isOurs(_ name: TrustDomain) -> Bool { name == trustDomain || aliases.contains(name) }
}
