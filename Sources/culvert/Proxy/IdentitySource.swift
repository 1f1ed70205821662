import SPIFFE

/// Where a node's identities come from, and the roots that its peers are verified by.
protocol IdentitySource: SVIDIssuer {
    /// In use now.
    var bundles: TrustBundleSet { get }

    /// Keeps them up to date until cancelled. `onTaint` is told which signers nothing should depend on any more, by their key
    /// identifiers in hexadecimal.
    func run(onTaint: @escaping @Sendable (Set<String>) async -> Void) async throws
}
