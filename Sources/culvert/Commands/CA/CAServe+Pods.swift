import Logging
import MeshFile
import SPIFFE

/// Where the authority's pods come from: a mesh file, or a cluster.
extension CAServe {
    func domain() throws(CommandFailure) -> TrustDomain {
        guard let name = trustDomain else { return try loadedMesh().trustDomain }
        let domain: TrustDomain
        do { domain = try TrustDomain.forNewAuthority(name) } catch { throw CommandFailure("--trust-domain: \(error)") }
        guard !cluster.kubernetes else { return domain }
        let mesh = try loadedMesh()
        guard domain == mesh.trustDomain else {
            throw CommandFailure(
                "--trust-domain is \(domain), but the mesh file's trust domain is \(mesh.trustDomain)",
                hint: "leave --trust-domain out, or correct \(self.mesh ?? "")")
        }
        return domain
    }

    func meshPods(logger: Logger) throws(CommandFailure) -> MeshFilePodRegistry {
        MeshFilePodRegistry(try loadedMesh(), path: mesh ?? "", logger: logger)
    }

    /// nil with a mesh file.
    func clusterAuthority(logger: Logger) throws(CommandFailure) -> ClusterAuthority? {
        guard cluster.kubernetes else { return nil }
        let configuration = try cluster.access.configuration()
        let settings = cluster.settings(configuration)
        logger.info(
            "Pods are the cluster's",
            metadata: [
                "server": "\(configuration.server)", "credentials": "\(configuration.origin)",
                "namespace": "\(settings.home)", "label": "\(settings.enrolment.label)",
                "excludedNamespaces": "\(settings.enrolment.excludedNamespaces.sorted().joined(separator: " "))",
                "nodeAccounts": "\(settings.accounts.map(\.description).sorted().joined(separator: " "))",
            ])
        return ClusterAuthority(
            client: ClusterAccessOptions.client(configuration), settings: settings, logger: logger)
    }

    private func loadedMesh() throws(CommandFailure) -> MeshFile {
        // Given without --kubernetes, as `validate` has seen to.
        do { return try MeshFile.load(path: mesh ?? "") } catch { throw CommandFailure("\(error)") }
    }
}
