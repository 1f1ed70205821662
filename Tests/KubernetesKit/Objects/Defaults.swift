/// What the real server fills in where the client said nothing.
enum Defaults {
    static func apply(to object: inout JSON, _ resource: Resource, _ state: Storage.State) {
        switch resource.kind {
        case "Namespace":
            let name = object["metadata"]["name"]
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name
            if object["metadata"]["deletionTimestamp"] == .null {
                fill(&object["spec"], ["finalizers": ["kubernetes"]])
                fill(&object["status"], ["phase": "Active"])
            }
        case "Pod":
            fill(pod: &object["spec"])
            fill(&object["status"], ["phase": "Pending", "qosClass": .string(qualityOfService(object["spec"]))])
        case "Service": fill(service: &object, state)
        case "Secret":
            for (name, value) in object["stringData"].object ?? [:] {
                object["data"][name] = .string(Base64.text(Array((value.string ?? "").utf8)))
            }
            object["stringData"] = nil
            fill(&object, ["type": "Opaque"])
        case "DaemonSet":
            fill(workload: &object)
            fill(&object["spec"], ["revisionHistoryLimit": 10, "updateStrategy": ["type": "RollingUpdate"]])
            if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
                fill(&object["spec"]["updateStrategy"]["rollingUpdate"], ["maxSurge": 0, "maxUnavailable": 1])
            }
            fill(
                &object["status"],
                [
                    "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
                ])
        case "Deployment":
            fill(workload: &object)
            fill(
                &object["spec"],
                [
                    "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                    "strategy": ["type": "RollingUpdate"],
                ])
            if object["spec"]["strategy"]["type"] == "RollingUpdate" {
                fill(&object["spec"]["strategy"]["rollingUpdate"], ["maxSurge": "25%", "maxUnavailable": "25%"])
            }
            fill(&object["status"], [:])
        case "StatefulSet":
            fill(workload: &object)
            fill(
                &object["spec"],
                [
                    "replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
                    "updateStrategy": ["type": "RollingUpdate"],
                ])
            if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
                fill(&object["spec"]["updateStrategy"]["rollingUpdate"], ["partition": 0])
            }
            fill(&object["status"], ["replicas": 0, "availableReplicas": 0])
        case "NetworkPolicy":
            let hasEgress = object["spec"]["egress"] != .null
            fill(&object["spec"], ["policyTypes": hasEgress ? ["Ingress", "Egress"] : ["Ingress"]])
        case "EndpointSlice":
            object["ports"] =
                object["ports"].array.map { ports in
                    .array(ports.map { filled($0, ["protocol": "TCP", "name": ""]) })
                } ?? .null
        case "ClusterRoleBinding", "RoleBinding":
            object["subjects"] =
                object["subjects"].array.map { subjects in
                    .array(
                        subjects.map {
                            $0["kind"] == "ServiceAccount" ? $0 : filled($0, ["apiGroup": "rbac.authorization.k8s.io"])
                        })
                } ?? .null
        case "PriorityClass": fill(&object, ["preemptionPolicy": "PreemptLowerPriority"])
        default: break
        }
    }

    /// What controllers put into every new namespace.
    static func populate(namespace: String, clock: Clock, _ state: inout Storage.State) {
        let metadata: (String) -> JSON = { name in
            [
                "name": .string(name), "namespace": .string(namespace), "uid": .string(Registry.uid()),
                "creationTimestamp": .string(Timestamps.text(clock.now)),
            ]
        }
        state.put(.serviceAccounts, ["apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("default")])
        state.put(
            .configMaps,
            [
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("kube-root-ca.crt"),
                "data": ["ca.crt": .string(state.rootCertificate)],
            ])
    }

    // MARK: Parts

    private static func fill(_ value: inout JSON, _ defaults: [String: JSON]) {
        value = filled(value, defaults)
    }

    private static func filled(_ value: JSON, _ defaults: [String: JSON]) -> JSON {
        .object((value.object ?? [:]).merging(defaults) { given, _ in given })
    }

    private static func fill(pod spec: inout JSON) {
        fill(
            &spec,
            [
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
                "schedulerName": "default-scheduler", "securityContext": .object([:]), "enableServiceLinks": true,
                "preemptionPolicy": "PreemptLowerPriority",
            ])
        for list in ["containers", "initContainers"] where spec[list].array != nil {
            spec[list] = .array((spec[list].array ?? []).map(container))
        }
        for volume in spec["volumes"].array?.indices ?? 0..<0 {
            var volumes = spec["volumes"].array ?? []
            for source in ["secret", "configMap", "projected", "downwardAPI"] where volumes[volume][source] != .null {
                fill(&volumes[volume][source], ["defaultMode": 420])
            }
            if volumes[volume]["hostPath"] != .null { fill(&volumes[volume]["hostPath"], ["type": ""]) }
            spec["volumes"] = .array(volumes)
        }
    }

    private static func container(_ container: JSON) -> JSON {
        guard container.object != nil else { return container }
        let image = container["image"].string ?? ""
        let isLatest =
            image.hasSuffix(":latest")
            || (!image.contains("@") && !(image.split(separator: "/").last ?? "").contains(":"))
        var container = filled(
            container,
            [
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "imagePullPolicy": isLatest ? "Always" : "IfNotPresent", "resources": .object([:]),
            ])
        if let ports = container["ports"].array {
            container["ports"] = .array(ports.map { filled($0, ["protocol": "TCP"]) })
        }
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] where container[probe] != .null {
            fill(
                &container[probe],
                ["timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3])
            if container[probe]["httpGet"] != .null {
                fill(&container[probe]["httpGet"], ["scheme": "HTTP", "path": "/"])
            }
        }
        if let variables = container["env"].array {
            container["env"] = .array(
                variables.map { variable in
                    var variable = variable
                    if variable["valueFrom"]["fieldRef"] != .null {
                        fill(&variable["valueFrom"]["fieldRef"], ["apiVersion": "v1"])
                    }
                    return variable
                })
        }
        return container
    }

    private static func fill(workload: inout JSON) {
        fill(&workload["metadata"], ["generation": 1])
        if workload["spec"]["template"]["spec"] != .null {
            fill(pod: &workload["spec"]["template"]["spec"])
            if let account = workload["spec"]["template"]["spec"]["serviceAccountName"].string {
                workload["spec"]["template"]["spec"]["serviceAccount"] = .string(account)
            }
        }
    }

    private static func qualityOfService(_ spec: JSON) -> String {
        let containers = (spec["containers"].array ?? []) + (spec["initContainers"].array ?? [])
        let resources = containers.map { $0["resources"] }
        guard resources.contains(where: { $0["limits"] != .null || $0["requests"] != .null }) else {
            return "BestEffort"
        }
        let isGuaranteed = resources.allSatisfy { resource in
            ["cpu", "memory"].allSatisfy { name in
                let limit = resource["limits"][name]
                return limit != .null && (resource["requests"][name] == .null || resource["requests"][name] == limit)
            }
        }
        return isGuaranteed ? "Guaranteed" : "Burstable"
    }

    private static func fill(service: inout JSON, _ state: Storage.State) {
        fill(
            &service["spec"],
            ["type": "ClusterIP", "sessionAffinity": "None"])
        if service["spec"]["type"] != "ExternalName" {
            fill(
                &service["spec"],
                ["ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster"])
            if service["spec"]["clusterIP"].string ?? "" == "" {
                service["spec"]["clusterIP"] = .string(freeAddress(state))
            }
            service["spec"]["clusterIPs"] = [service["spec"]["clusterIP"]]
        }
        service["spec"]["ports"] =
            service["spec"]["ports"].array.map { ports in
                .array(ports.map { filled($0, ["protocol": "TCP", "targetPort": $0["port"]]) })
            } ?? .null
        fill(&service["status"], ["loadBalancer": .object([:])])
    }

    /// The next of 10.96.0.0/12 that no service has.
    private static func freeAddress(_ state: Storage.State) -> String {
        let services = state[.services]
        var candidate = services.keys.count + 10
        let used = Set(services.keys.compactMap { services[$0]?.json["spec"]["clusterIP"].string })
        func text(_ number: Int) -> String { "10.\(96 + number >> 16 & 15).\(number >> 8 & 255).\(number & 255)" }
        while used.contains(text(candidate)) { candidate += 1 }
        return text(candidate)
    }
}
