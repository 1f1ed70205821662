public import SPIFFE

/// What the authority's stream says that peers are verified by, and what is to be renewed.
public struct TrustUpdate: Equatable, Sendable {
    /// How many tainted authorities one update may name.
    public static let taintedMax = 256

    /// Of the authority's own trust domain.
    public let bundle: TrustBundle
    /// Key identifiers of authorities that nothing should depend on any more, in lower-case hexadecimal.
    public let tainted: Set<String>

    public init(bundle: TrustBundle, tainted: Set<String> = []) {
        self.bundle = bundle
        self.tainted = tainted
    }

    /// `trustDomain` is that of the authority.
    public init(_ message: Culvert_Authority_V1_BundleUpdate, of trustDomain: TrustDomain) throws(AuthorityCallError) {
        guard message.taintedAuthorities.count <= Self.taintedMax else {
            throw .invalidAnswer("it names \(message.taintedAuthorities.count) tainted authorities")
        }
        bundle = try TrustBundle(message.bundle, of: trustDomain)
        tainted = Set(message.taintedAuthorities)
    }
}
