/// The bundles of all trust domains that are known here, each under its own name.
public struct TrustBundleSet: Sendable, Equatable {
    public private(set) var bundles: [TrustDomain: TrustBundle] = [:]

    public init() {}

    public init(_ bundles: some Sequence<TrustBundle>) {
        for bundle in bundles { insert(bundle) }
    }

    public subscript(trustDomain: TrustDomain) -> TrustBundle? { bundles[trustDomain] }

    /// Takes the place of the domain's bundle, whatever its sequence number.
    public mutating func insert(_ bundle: TrustBundle) {
        bundles[bundle.trustDomain] = bundle
    }

    /// From then on nobody of the domain is trusted.
    public mutating func remove(_ trustDomain: TrustDomain) {
        bundles[trustDomain] = nil
    }

    /// Takes the bundle if it is newer than the one held, or the first of its domain; otherwise only says what it is.
    public mutating func update(_ bundle: TrustBundle) -> BundleSuccession {
        let succession = bundles[bundle.trustDomain].map { $0.succession(by: bundle) } ?? .newer
        if succession == .newer { insert(bundle) }
        return succession
    }
}

extension TrustBundleSet {
    /// Reads `{"trust_domains": {"<name>": <bundle>, …}}`; a name that is there twice is an error.
    public init(bundleMap: some Collection<UInt8>) throws(TrustBundleError) {
        let document: JSONDocument
        do { document = try JSONDocument.read(bundleMap) } catch { throw .json("\(error)") }
        guard case .object(let members)? = document["trust_domains"] else {
            throw .member("trust_domains", expected: "an object from trust domain to bundle")
        }
        self.init()
        for (name, member) in members {
            let trustDomain: TrustDomain
            do { trustDomain = try TrustDomain(name) } catch { throw .trustDomain(name, error) }
            insert(try TrustBundle(trustDomain: trustDomain, document: member))
        }
    }

    /// In the order of the names.
    public func bundleMap() -> String {
        let members = bundles.values.sorted { $0.trustDomain < $1.trustDomain }
            .map { "\"\($0.trustDomain)\":\($0.jwksWithoutHint())" }
        return "{\"trust_domains\":{\(members.joined(separator: ","))}}"
    }
}
