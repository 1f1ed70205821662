/// Clusters of any size, made at once.
extension APIServer {
    /// A pod as it is once its node runs it.
    public static func pod(
        _ namespace: String, _ name: String, node: String = "", ip: String = "", serviceAccount: String = "default",
        labels: [String: String] = [:], annotations: [String: String] = [:], phase: String = "Running",
        hostNetwork: Bool = false, containerID: String? = nil
    ) -> JSON {
        let isRunning = phase == "Running"
        let status: JSON = [
            "phase": .string(phase), "hostIP": ip.isEmpty ? nil : "10.0.0.1", "podIP": ip.isEmpty ? nil : .string(ip),
            "podIPs": ip.isEmpty ? nil : [["ip": .string(ip)]], "qosClass": "BestEffort",
            "conditions": [["type": "Ready", "status": isRunning ? "True" : "False"]],
            "containerStatuses": [
                [
                    "name": "app", "ready": .bool(isRunning), "restartCount": 0, "image": "app:1", "imageID": "app:1",
                    "containerID": JSON(containerID),
                    "state": isRunning ? ["running": ["startedAt": "2026-01-01T00:00:00Z"]] : .object([:]),
                ]
            ],
        ]
        return [
            "apiVersion": "v1", "kind": "Pod",
            "metadata": [
                "name": .string(name), "namespace": .string(namespace),
                "labels": labels.isEmpty ? nil : JSON(labels),
                "annotations": annotations.isEmpty ? nil : JSON(annotations),
            ],
            "spec": [
                "serviceAccountName": .string(serviceAccount), "nodeName": node.isEmpty ? nil : .string(node),
                "hostNetwork": hostNetwork ? true : nil, "containers": [["name": "app", "image": "app:1"]],
            ],
            "status": status,
        ]
    }

    /// A namespace, if there is none of that name, with its default service account.
    public func ensureNamespace(_ name: String, labels: [String: String] = [:]) throws {
        guard get(.namespaces, "", name) == nil else { return }
        try create(
            .namespaces,
            ["metadata": ["name": .string(name), "labels": labels.isEmpty ? nil : JSON(labels)]])
    }

    /// Puts a pod in, with its namespace and service account where they are missing.
    @discardableResult
    public func addPod(_ pod: JSON) throws -> JSON {
        let namespace = pod["metadata"]["namespace"].string ?? "default"
        let account = pod["spec"]["serviceAccountName"].string ?? "default"
        try ensureNamespace(namespace)
        if get(.serviceAccounts, namespace, account) == nil {
            try create(
                .serviceAccounts, ["metadata": ["name": .string(account), "namespace": .string(namespace)]])
        }
        return try registry.create(.pods, namespace, pod, WriteOptions(manager: "", keepsStatus: true)).json
    }

    /// Makes many running pods `pod-0`… in one namespace, spread over nodes `node-0`…, each with an address of its own.
    ///
    /// Their content is written once and numbered, so that ten thousand take a second or two in a debug build.
    public func addPods(
        _ count: Int, namespace: String, nodes: Int = 1, serviceAccount: String = "default",
        labels: [String: String] = [:]
    ) throws {
        guard count > 0 else { return }
        let first = try addPod(
            Self.pod(
                namespace, "pod-0", node: "node-0", ip: Self.address(0), serviceAccount: serviceAccount, labels: labels)
        )
        registry.storage.write { state in
            for number in 1..<count {
                var pod = first
                pod["metadata"]["name"] = .string("pod-\(number)")
                pod["metadata"]["uid"] = .string(Registry.uid())
                pod["spec"]["nodeName"] = .string("node-\(number % nodes)")
                pod["status"]["podIP"] = .string(Self.address(number))
                pod["status"]["podIPs"] = [["ip": .string(Self.address(number))]]
                state.put(.pods, pod)
            }
        }
    }

    /// The address of the pod with a number: 10.128.0.0/9.
    public static func address(_ number: Int) -> String {
        let value = number + 1
        return "10.\(128 + value >> 16 & 127).\(value >> 8 & 255).\(value & 255)"
    }

    /// Changes one annotation of each of the pods in turn, at most `perSecond` of them, until the task is cancelled or `count` are done.
    public func changePods(namespace: String, count: Int, perSecond: Int) async throws {
        let keys = registry.storage.read { Array($0[.pods].keys(in: namespace)) }
        guard !keys.isEmpty else { return }
        let start = ContinuousClock.now
        for number in 0..<count {
            try await Task.sleep(until: start + .seconds(1) * number / perSecond, clock: .continuous)
            registry.storage.write { state in
                guard var pod = state[.pods][keys[number % keys.count]]?.json else { return }
                pod["metadata"]["annotations"]["load/change"] = .string(String(number))
                state.put(.pods, pod)
            }
        }
    }
}
