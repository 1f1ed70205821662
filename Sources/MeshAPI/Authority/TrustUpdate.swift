public import SPIFFE

/// What the authority's stream says that peers are verified by, and what is to be renewed.
public struct TrustUpdate: Equatable, Sendable {
    /// How many trust domains one may be federated with.
    public static let federatedMax = 32
    /// How many tainted authorities one update may name.
    public static let taintedMax = 256
    /// In bytes: all the bundles that an update may hold.
    static let messageBytesMax = 8 << 20

    /// Of the authority's own trust domain.
    public let bundle: TrustBundle
    /// Of other trust domains, one each; of those that are not here nobody is trusted.
    public let federated: [TrustBundle]
    /// Key identifiers of authorities that nothing should depend on any more, in lower-case hexadecimal.
    public let tainted: Set<String>

    public init(bundle: TrustBundle, federated: [TrustBundle] = [], tainted: Set<String> = []) {
        self.bundle = bundle
        self.tainted = tainted
        self.federated = federated
    }

    public var bundles: TrustBundleSet { TrustBundleSet([bundle] + federated) }

    /// For a log line.
    public var federatedNames: String { federated.map(\.trustDomain.name).sorted().joined(separator: " ") }

    /// `trustDomain` is that of the authority; a bundle that is said to be federated must be of another.
    public init(_ message: Culvert_Authority_V1_BundleUpdate, of trustDomain: TrustDomain) throws(AuthorityCallError) {
        guard message.taintedAuthorities.count <= Self.taintedMax else {
            throw .invalidAnswer("it names \(message.taintedAuthorities.count) tainted authorities")
        }
        bundle = try TrustBundle(message.bundle, of: trustDomain)
        tainted = Set(message.taintedAuthorities)
        guard message.federated.count <= Self.federatedMax else {
            throw .invalidAnswer("it holds the bundles of \(message.federated.count) federated trust domains")
        }
        var known: Set<TrustDomain> = [trustDomain]
        var federated: [TrustBundle] = []
        for message in message.federated {
            let name: TrustDomain
            do { name = try TrustDomain(message.trustDomain) } catch {
                throw .invalidAnswer("it holds a bundle of a trust domain without a proper name: \(error)")
            }
            guard known.insert(name).inserted else { throw .invalidAnswer("it holds two bundles of \(name)") }
            federated.append(try TrustBundle(foreign: message, of: name))
        }
        self.federated = federated
    }
}
