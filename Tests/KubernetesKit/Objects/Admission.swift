/// What the real server's admission plugins decide about a new object, from what else there is: NamespaceLifecycle,
/// ServiceAccount, Priority, DefaultTolerationSeconds.
enum Admission {
    static func admit(
        _ object: inout JSON, _ resource: Resource, _ namespace: String, _ state: Storage.State
    ) throws {
        let name = object["metadata"]["name"].string ?? ""
        if resource.isNamespaced {
            guard let home = state.object(.namespaces, "", namespace) else {
                throw Refusal.notFound(.namespaces, namespace)
            }
            guard home.json["status"]["phase"] != "Terminating" else {
                var refusal = Refusal.forbidden(
                    resource, name,
                    "unable to create new content in namespace \(namespace) because it is being terminated")
                refusal.details["causes"] = [
                    [
                        "reason": "NamespaceTerminating",
                        "message": .string("namespace \(namespace) is being terminated"), "field": "metadata.namespace",
                    ]
                ]
                throw refusal
            }
        }
        if resource == .pods { try admit(pod: &object, name, namespace, state) }
    }

    private static func admit(pod: inout JSON, _ name: String, _ namespace: String, _ state: Storage.State) throws {
        let isMirror = pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] != .null
        let account = pod["spec"]["serviceAccountName"].string.flatMap { $0.isEmpty ? nil : $0 } ?? "default"
        if !isMirror {
            guard state.object(.serviceAccounts, namespace, account) != nil else {
                throw Refusal.forbidden(
                    .pods, name,
                    "error looking up service account \(namespace)/\(account): serviceaccount \"\(account)\" not found")
            }
            pod["spec"]["serviceAccountName"] = .string(account)
            pod["spec"]["serviceAccount"] = .string(account)
            mountToken(&pod)
        }
        if let priority = pod["spec"]["priorityClassName"].string, !priority.isEmpty {
            let builtIn = ["system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000]
            let value = builtIn[priority] ?? state.object(.priorityClasses, "", priority)?.json["value"].integer
            guard let value else {
                throw Refusal.forbidden(.pods, name, "no PriorityClass with name \(priority) was found")
            }
            pod["spec"]["priority"] = .integer(value)
        } else {
            pod["spec"]["priority"] = 0
        }
        var tolerations = pod["spec"]["tolerations"].array ?? []
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let isTolerated = tolerations.contains {
                ($0["key"].string == key || $0["key"] == .null) && ["NoExecute", nil].contains($0["effect"].string)
            }
            guard !isTolerated else { continue }
            tolerations.append(
                ["key": .string(key), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300])
        }
        pod["spec"]["tolerations"] = .array(tolerations)
    }

    private static let tokenDirectory: JSON = "/var/run/secrets/kubernetes.io/serviceaccount"

    /// The volume that brings every container its token and the cluster's roots.
    private static func mountToken(_ pod: inout JSON) {
        guard pod["spec"]["automountServiceAccountToken"].bool ?? true else { return }
        let containers = pod["spec"]["containers"].array ?? []
        guard containers.contains(where: { !mountsToken($0) }) else { return }
        let volume = Registry.generatedName("kube-api-access-")
        pod["spec"]["containers"] = .array(
            containers.map { container in
                guard case .object = container, !mountsToken(container) else { return container }
                var container = container
                let mount: JSON = ["name": .string(volume), "readOnly": true, "mountPath": tokenDirectory]
                container["volumeMounts"] = .array((container["volumeMounts"].array ?? []) + [mount])
                return container
            })
        let field: JSON = ["apiVersion": "v1", "fieldPath": "metadata.namespace"]
        let sources: JSON = [
            ["serviceAccountToken": ["expirationSeconds": 3607, "path": "token"]],
            ["configMap": ["name": "kube-root-ca.crt", "items": [["key": "ca.crt", "path": "ca.crt"]]]],
            ["downwardAPI": ["items": [["path": "namespace", "fieldRef": field]]]],
        ]
        let projected: JSON = ["name": .string(volume), "projected": ["sources": sources, "defaultMode": 420]]
        pod["spec"]["volumes"] = .array((pod["spec"]["volumes"].array ?? []) + [projected])
    }

    private static func mountsToken(_ container: JSON) -> Bool {
        (container["volumeMounts"].array ?? []).contains { $0["mountPath"] == tokenDirectory }
    }
}
