import FoundationEssentials
import Glibc
import KubernetesAPI
import MeshFile
import NamespaceKit
import Testing

@testable import culvert

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

    @Test("tell agents and authority alike who is enrolled", arguments: overlays)
    func enrolment(_ overlay: String) {
        let documents = shell("kubectl kustomize deploy/overlays/\(overlay)").components(separatedBy: "\n---\n")
        func lines(_ name: String, _ kind: String) -> [Substring] {
            let document = documents.first { $0.contains("\nkind: \(kind)\n") && $0.contains("\n  name: \(name)\n") }
            return (document ?? "").split(separator: "\n")
        }
        for (option, variable, key) in [
            ("enrolment-label", "ENROLMENT_LABEL", "enrolmentLabel"),
            ("exclude-namespace", "EXCLUDED_NAMESPACES", "excludedNamespaces"),
        ] {
            for (name, kind) in [("culvert-agent", "DaemonSet"), ("culvert-ca", "StatefulSet")] {
                let lines = lines(name, kind)
                #expect(lines.filter { $0.contains("--\(option)=") }.map(\.trimmed) == ["- --\(option)=$(\(variable))"])
                let at = lines.firstIndex { $0.trimmed == "- name: \(variable)" }
                let source = lines[(at ?? lines.endIndex)...].prefix(5).map(\.trimmed)
                #expect(
                    source == [
                        "- name: \(variable)", "valueFrom:", "configMapKeyRef:", "key: \(key)",
                        "name: culvert-settings",
                    ])
                // The service account's namespace, in which Culvert's own pods are.
                #expect(!lines.contains { $0.contains("--own-namespace") })
                #expect(lines.contains { $0.trimmed == "fieldPath: metadata.namespace" })
            }
        }
        let settings = lines("culvert-settings", "ConfigMap").map(\.trimmed)
        let defaults = EnrolmentRule.systemNamespaces.sorted().joined(separator: ",")
        #expect(settings.contains("excludedNamespaces: \(defaults)"), "as the option's own default is")
        #expect(settings.contains("enrolmentLabel: \(MeshFile.defaultEnrolmentLabel)"))
    }

    @Test("leave nodes as they are until the settings say to take Culvert off them", arguments: overlays)
    func removal(_ overlay: String) throws {
        let documents = shell("kubectl kustomize deploy/overlays/\(overlay)").components(separatedBy: "\n---\n")
        let settings = try #require(
            documents.first { $0.contains("\n  name: culvert-settings\n") && $0.contains("\ndata:\n") })
        let agent = try #require(
            documents.first { $0.contains("kind: DaemonSet\n") && $0.contains("\n  name: culvert-agent\n") })
        let words = try TextFile.read(Self.repository + "docs/kubernetes.md")
        for (key, argument, usual, removing) in [
            ("agentOnExit", "--on-exit=$(AGENT_ON_EXIT)", "leave", "remove"),
            ("cniPlugin", "$(CNI_PLUGIN)", "install", "uninstall"),
        ] {
            #expect(settings.contains("\n  \(key): \(usual)\n"))
            #expect(agent.contains("- \(argument)\n") && agent.contains("key: \(key)\n"))
            #expect(words.contains("\"\(key)\": \"\(removing)\""), "the un-installation's command")
        }
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

extension Substring {
    fileprivate var trimmed: String { String(drop { $0 == " " }) }
}
