import FoundationEssentials
import Glibc
import NamespaceKit
import Testing

/// Debian 12's own kubectl is from before.
private let canKustomize = TestNetwork.shell("kubectl version --client 2>/dev/null").contains("Kustomize Version: v5")

/// The manifests, as `kubectl apply -k` would send them.
@Suite(
    "Manifests", .timeLimit(.minutes(3)),
    .enabled(if: canKustomize, "needs a kubectl whose kustomize knows `labels` (1.27)"))
struct DeployTests {
    private static let overlays = ["sqlite", "postgresql"]

    private static let repository: String = {
        var directory = URL(filePath: #filePath)
        for _ in 0..<3 { directory.deleteLastPathComponent() }
        return directory.path()
    }()

    /// What a shell prints, and `exit N`.
    private func shell(_ command: String) -> String {
        TestNetwork.shell("cd \(Self.repository) && (\(command)) 2>&1; echo exit $?")
    }

    @Test(
        "have every field where the API has it, and no other, in each version",
        .enabled(
            if: access(repository + "/.build/kubernetes-validate", F_OK) == 0, "needs `make schemas`, the API's schemas"
        ),
        arguments: overlays, ["1.30", "1.32", "1.37"])
    func schemas(_ overlay: String, _ version: String) {
        let said = shell(
            """
            kubectl kustomize deploy/overlays/\(overlay) | PYTHONPATH=.build/kubernetes-validate \
            python3 -m kubernetes_validate --strict --kubernetes-version \(version) -
            """)
        #expect(said.contains("passed for resource daemonset/culvert-proxy") && said.hasSuffix("exit 0\n"), "\(said)")
        #expect(!said.contains("failed"), "\(said)")
    }

    @Test("bind every account to a role that is there", arguments: overlays)
    func accounts(_ overlay: String) {
        let manifests = shell("kubectl kustomize deploy/overlays/\(overlay)")
        let documents = manifests.components(separatedBy: "\n---\n")
        func names(_ kind: String) -> Set<String> {
            Set(
                documents.filter { $0.contains("\nkind: \(kind)\n") }.compactMap { document in
                    document.split(separator: "\n").first { $0.hasPrefix("  name: ") }.map { String($0.dropFirst(8)) }
                })
        }
        #expect(names("ServiceAccount") == ["culvert-agent", "culvert-proxy", "culvert-ca"])
        #expect(names("ClusterRoleBinding") == names("ClusterRole"))
        for kind in ["DaemonSet", "StatefulSet"] {
            for name in names(kind) { #expect(manifests.contains("serviceAccountName: \(name)\n"), "\(name)") }
        }
    }
}
