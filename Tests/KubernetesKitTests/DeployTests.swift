import FoundationEssentials
import KubernetesKit
import Testing

@Suite("The manifests of deploy/", .serialized, .enabled(if: standInIsThere))
struct DeployTests {
    private static let overlays =
        String(#filePath.split(separator: "/Tests/KubernetesKitTests")[0]) + "/deploy/overlays/"

    /// Debian's kubectl cannot read these kustomizations: they are told by a newer one, where there is one.
    private func withDeployment(
        _ overlay: String, _ body: (Scene, APIServer) async throws -> Void
    ) async throws {
        try await Scene.runStandIn { scene, server in
            guard try await scene.kubectl.minorVersion >= 25 else { return }
            let applied = try await scene.kubectl("apply", "-k", Self.overlays + overlay)
            #expect(applied.succeeded, "\(applied.error)")
            #expect(!applied.error.contains("Warning"), "\(applied.error)")
            try await body(scene, server)
        }
    }

    @Test(
        "are accepted whole, without unknown fields, and are the same the second time",
        arguments: ["sqlite", "postgresql"])
    func apply(overlay: String) async throws {
        try await withDeployment(overlay) { scene, server in
            let again = try await scene.kubectl("apply", "-k", Self.overlays + overlay)
            let lines = again.output.split(separator: "\n")
            #expect(!lines.isEmpty && lines.allSatisfy { $0.hasSuffix(" unchanged") }, "\(again.output)")
            let serverSide = try await scene.kubectl(
                "apply", "--server-side", "--force-conflicts", "-k", Self.overlays + overlay)
            #expect(serverSide.succeeded, "\(serverSide.error)")
            for set in server.list(.daemonSets, namespace: "culvert-system") {
                // Whoever the pods run as is there, too.
                let account = set["spec"]["template"]["spec"]["serviceAccountName"].string ?? "default"
                #expect(server.get(.serviceAccounts, "culvert-system", account) != nil)
            }
            let gone = try await scene.kubectl(
                "delete", "--ignore-not-found", "-k", Self.overlays + overlay, "--timeout=60s")
            #expect(gone.succeeded, "\(gone.error)")
            #expect(server.get(.namespaces, "", "culvert-system") == nil)
        }
    }

    @Test("give agent and authority what they need, and nothing that would make a node the master of the cluster")
    func roles() async throws {
        let expectations: [(account: String, allowed: Bool, question: [String])] = [
            ("culvert-agent", true, ["watch", "pods"]), ("culvert-agent", true, ["list", "namespaces"]),
            ("culvert-agent", true, ["watch", "endpointslices.discovery.k8s.io"]),
            ("culvert-agent", true, ["patch", "pods", "--subresource=status"]),
            ("culvert-agent", false, ["create", "pods"]), ("culvert-agent", false, ["delete", "pods"]),
            ("culvert-agent", false, ["get", "secrets"]),
            ("culvert-agent", false, ["create", "serviceaccounts", "--subresource=token"]),
            ("culvert-agent", false, ["patch", "namespaces"]), ("culvert-agent", false, ["patch", "nodes"]),
            ("culvert-agent", false, ["create", "pods", "--subresource=exec"]),
            ("culvert-ca", true, ["create", "tokenreviews.authentication.k8s.io"]),
            ("culvert-ca", true, ["watch", "pods"]),
            ("culvert-ca", false, ["get", "secrets"]),
            ("culvert-ca", false, ["update", "configmaps/kube-root-ca.crt"]),
            ("culvert-ca", false, ["create", "clusterrolebindings.rbac.authorization.k8s.io"]),
            ("culvert-proxy", false, ["list", "pods"]), ("culvert-proxy", false, ["get", "secrets"]),
        ]
        try await withDeployment("postgresql") { scene, _ in
            for (account, isAllowed, question) in expectations {
                let user = "system:serviceaccount:culvert-system:\(account)"
                let answer = try await scene.kubectl.run(
                    ["kubectl", "auth", "can-i", "--as", user, "-n", "default"] + question)
                #expect(
                    answer.output == (isAllowed ? "yes\n" : "no\n"),
                    "\(account) \(question): \(answer.output)\(answer.error)")
            }
        }
    }
}
