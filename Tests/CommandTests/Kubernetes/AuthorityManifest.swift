import FoundationEssentials
import KubernetesKit
import Testing

extension APIServer {
    /// What `deploy/` gives the authority: its namespace, its service account, and its rights.
    func installAuthority() throws {
        try create(.namespaces, ["metadata": ["name": "culvert-system"]])
        var repository = URL(filePath: #filePath)
        for _ in 0..<4 { repository.deleteLastPathComponent() }
        let manifest = try String(
            decoding: Data(contentsOf: repository.appending(path: "deploy/base/authority-rbac.yaml")), as: UTF8.self)
        // As the kustomization does.
        for var document in try YAMLDocuments.read(manifest) {
            let resource = try #require(Resource.stored.first { $0.kind == document["kind"].string })
            if resource.isNamespaced { document["metadata"]["namespace"] = "culvert-system" }
            try create(resource, document)
        }
    }
}
