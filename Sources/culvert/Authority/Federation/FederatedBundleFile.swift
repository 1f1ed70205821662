import Authority
import SPIFFE

/// The federated bundles on disk, so that a restarted authority believes at once whom it believed before.
///
/// A bundle map of the SPIFFE standard, which `culvert cert inspect` reads. Public: it holds no secret.
struct FederatedBundleFile: Sendable {
    let path: String

    init(directory: String) { path = "\(directory)/federated.json" }

    /// Empty if there is no file yet.
    func read() throws -> TrustBundleSet {
        guard TextFile.exists(path) else { return TrustBundleSet() }
        return try TrustBundleSet(bundleMap: TextFile.read(path).utf8)
    }

    func write(_ bundles: TrustBundleSet) throws {
        try PublishedFile.write(bundles.bundleMap() + "\n", to: path, mode: 0o644)
    }
}
