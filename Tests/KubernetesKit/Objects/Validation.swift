/// What makes an object unacceptable (422), as the real server's validation says it.
enum Validation {
    /// Flaws of the object by itself.
    static func flaws(of object: JSON, _ resource: Resource, subresource: String = "") -> [Flaw] {
        var flaws = metadata(object["metadata"], resource)
        flaws += FieldCheck.missing(in: object, of: Schema.stored(resource))
        switch resource.kind {
        case "Pod": flaws += pod(object["spec"], "spec") + status(pod: object["status"])
        case "DaemonSet", "Deployment", "StatefulSet": flaws += workload(object)
        case "Event": flaws += event(object, isNew: resource == .events || object["eventTime"] != .null)
        case "Lease": flaws += lease(object["spec"])
        case "ConfigMap", "Secret":
            for map in ["data", "binaryData"] {
                for key in object[map].keys where !Names.isConfigurationKey(key) {
                    flaws.append(
                        .invalid(
                            "\(map)[\(key)]", .string(key),
                            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"))
                }
            }
            let size = (object["data"].object ?? [:]).reduce(0) { $0 + ($1.value.string?.utf8.count ?? 0) }
            if size > 1 << 20 { flaws.append(.tooLong("data", 1 << 20)) }
        case "Service": flaws += service(object["spec"])
        case "EndpointSlice": flaws += slice(object)
        case "ClusterRole", "Role": flaws += role(object)
        case "ClusterRoleBinding", "RoleBinding": flaws += binding(object)
        case "Namespace": break
        default: break
        }
        return flaws
    }

    // MARK: Metadata

    private static let annotationsMax = 256 << 10

    private static func metadata(_ metadata: JSON, _ resource: Resource) -> [Flaw] {
        var flaws: [Flaw] = []
        let name = metadata["name"].string ?? ""
        if name.isEmpty {
            return [.required("metadata.name", "name or generateName is required")]
        }
        let (isValid, rule): (Bool, String) =
            switch resource.kind {
            case "Namespace", "Service": (Names.isLabel(name), Names.labelRule)
            case "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding":
                (Names.isPathSegment(name), "may not contain '/' or '%'")
            default: (Names.isSubdomain(name), Names.subdomainRule)
            }
        if !isValid { flaws.append(.invalid("metadata.name", .string(name), rule)) }
        for key in metadata["labels"].keys {
            if !Names.isQualifiedName(key) {
                flaws.append(.invalid("metadata.labels", .string(key), Names.qualifiedNameRule))
            }
            let value = metadata["labels"][key].string ?? ""
            if !Names.isLabelValue(value) {
                let rule = value.utf8.count > 63 ? "must be no more than 63 bytes" : Names.labelValueRule
                flaws.append(.invalid("metadata.labels", .string(value), rule))
            }
        }
        var size = 0
        for (key, value) in metadata["annotations"].object ?? [:] {
            size += key.utf8.count + (value.string?.utf8.count ?? 0)
            if !Names.isQualifiedName(key.lowercased()) {
                flaws.append(.invalid("metadata.annotations", .string(key), Names.qualifiedNameRule))
            }
        }
        if size > annotationsMax { flaws.append(.tooLong("metadata.annotations", annotationsMax)) }
        for (index, owner) in (metadata["ownerReferences"].array ?? []).enumerated() {
            for field in ["apiVersion", "kind", "name", "uid"] where owner[field].string ?? "" == "" {
                flaws.append(.invalid("metadata.ownerReferences[\(index)].\(field)", "", "\(field) must not be empty"))
            }
        }
        for finalizer in metadata["finalizers"].array ?? [] where !(finalizer.string ?? "").contains("/") {
            flaws.append(
                .invalid(
                    "metadata.finalizers", finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified"))
        }
        return flaws
    }

    // MARK: Pods and what makes them

    /// - Parameter claims: volumes that come from elsewhere, a StatefulSet's claims.
    static func pod(_ spec: JSON, _ path: String, claims: [JSON] = []) -> [Flaw] {
        var flaws: [Flaw] = []
        let containers = spec["containers"].array ?? []
        if containers.isEmpty, spec["containers"] != .null { flaws.append(.required("\(path).containers")) }
        if spec["containers"] == .null, spec == .null { flaws.append(.required("\(path).containers")) }
        var names: Set<JSON> = []
        let volumes = Set((spec["volumes"].array ?? []).map { $0["name"] } + claims)
        for list in ["initContainers", "containers"] {
            for (index, container) in (spec[list].array ?? []).enumerated() {
                let place = "\(path).\(list)[\(index)]"
                let name = container["name"].string ?? ""
                if !name.isEmpty, !Names.isLabel(name) {
                    flaws.append(.invalid("\(place).name", .string(name), Names.labelRule))
                }
                if !names.insert(container["name"]).inserted {
                    flaws.append(.duplicate("\(place).name", .string(name)))
                }
                if container["image"].string ?? "" == "" { flaws.append(.required("\(place).image")) }
                for (number, port) in (container["ports"].array ?? []).enumerated() {
                    let value = port["containerPort"].integer ?? 0
                    if !(1...65535).contains(value) {
                        flaws.append(
                            .invalid(
                                "\(place).ports[\(number)].containerPort", .integer(value),
                                "must be between 1 and 65535, inclusive"))
                    }
                }
                for (number, mount) in (container["volumeMounts"].array ?? []).enumerated()
                where !volumes.contains(mount["name"]) {
                    flaws.append(
                        Flaw(
                            kind: .notFound, field: "\(place).volumeMounts[\(number)].name",
                            message: "Not found: \(mount["name"].text)"))
                }
            }
        }
        flaws += oneOf(spec["restartPolicy"], "\(path).restartPolicy", ["Always", "OnFailure", "Never"])
        flaws += oneOf(
            spec["dnsPolicy"], "\(path).dnsPolicy", ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"])
        return flaws
    }

    private static func status(pod status: JSON) -> [Flaw] {
        var flaws = oneOf(status["phase"], "status.phase", ["Pending", "Running", "Succeeded", "Failed", "Unknown"])
        for (index, condition) in (status["conditions"].array ?? []).enumerated() {
            let type = condition["type"].string ?? ""
            if !Names.isQualifiedName(type) {
                flaws.append(.invalid("status.conditions[\(index)].type", .string(type), Names.qualifiedNameRule))
            }
        }
        return flaws
    }

    private static func workload(_ object: JSON) -> [Flaw] {
        let template = object["spec"]["template"]
        let claims = (object["spec"]["volumeClaimTemplates"].array ?? []).map { $0["metadata"]["name"] }
        var flaws = pod(template["spec"], "spec.template.spec", claims: claims)
        guard let selector = LabelSelector(object: object["spec"]["selector"]), !selector.requirements.isEmpty else {
            return flaws + [
                .invalid("spec.selector", .object([:]), "empty selector is invalid for \(object["kind"].string ?? "")")
            ]
        }
        if !selector.matches(template["metadata"]["labels"].object ?? [:]) {
            flaws.append(
                .invalid(
                    "spec.template.metadata.labels", template["metadata"]["labels"],
                    "`selector` does not match template `labels`"))
        }
        if template["spec"]["restartPolicy"].string ?? "Always" != "Always" {
            flaws.append(
                .unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ["Always"]))
        }
        return flaws
    }

    // MARK: Others

    /// - Parameter isNew: written as `events.k8s.io` wants it, which asks for more.
    private static func event(_ event: JSON, isNew: Bool) -> [Flaw] {
        var flaws: [Flaw] = []
        let home = event["metadata"]["namespace"].string ?? ""
        let subject = event["involvedObject"]["namespace"].string ?? ""
        // What is of no namespace is reported in "default" or "kube-system".
        let isHome = subject.isEmpty ? home == "default" || home == "kube-system" : subject == home
        if !isHome {
            flaws.append(.invalid("involvedObject.namespace", .string(subject), "does not match event.namespace"))
        }
        guard isNew else { return flaws }
        if event["eventTime"] == .null { flaws.append(.required("eventTime")) }
        for (field, name) in [
            ("reportingComponent", "reportingController"), ("reportingInstance", "reportingInstance"),
            ("action", "action"),
            ("reason", "reason"),
        ] where event[field].string ?? "" == "" { flaws.append(.required(name)) }
        if !Names.isQualifiedName(event["reportingComponent"].string ?? "a") {
            flaws.append(.invalid("reportingController", event["reportingComponent"], Names.qualifiedNameRule))
        }
        for (field, max) in [("action", 128), ("reason", 128), ("reportingInstance", 128), ("message", 1024)]
        where (event[field].string?.utf8.count ?? 0) > max {
            flaws.append(.invalid(field, "", "can have at most \(max) characters"))
        }
        if !["Normal", "Warning"].contains(event["type"].string) {
            flaws.append(.invalid("type", event["type"], "has invalid value: \(event["type"].string ?? "")"))
        }
        return flaws
    }

    private static func lease(_ spec: JSON) -> [Flaw] {
        var flaws: [Flaw] = []
        if let seconds = spec["leaseDurationSeconds"].integer, seconds <= 0 {
            flaws.append(.invalid("spec.leaseDurationSeconds", .integer(seconds), "must be greater than 0"))
        }
        if let transitions = spec["leaseTransitions"].integer, transitions < 0 {
            flaws.append(.invalid("spec.leaseTransitions", .integer(transitions), "must be greater than or equal to 0"))
        }
        return flaws
    }

    private static func service(_ spec: JSON) -> [Flaw] {
        var flaws = oneOf(spec["type"], "spec.type", ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"])
        let ports = spec["ports"].array ?? []
        if ports.isEmpty, spec["type"] != "ExternalName", spec["clusterIP"] != "None" {
            flaws.append(.required("spec.ports"))
        }
        var seen: Set<JSON> = []
        for (index, port) in ports.enumerated() {
            let number = port["port"].integer ?? 0
            if !(1...65535).contains(number) {
                flaws.append(
                    .invalid("spec.ports[\(index)].port", .integer(number), "must be between 1 and 65535, inclusive"))
            }
            if ports.count > 1, port["name"].string ?? "" == "" { flaws.append(.required("spec.ports[\(index)].name")) }
            if port["name"] != .null, !seen.insert(port["name"]).inserted {
                flaws.append(.duplicate("spec.ports[\(index)].name", port["name"]))
            }
        }
        return flaws
    }

    private static func slice(_ slice: JSON) -> [Flaw] {
        var flaws = oneOf(slice["addressType"], "addressType", ["IPv4", "IPv6", "FQDN"])
        for (index, endpoint) in (slice["endpoints"].array ?? []).enumerated() {
            let addresses = endpoint["addresses"].array ?? []
            if addresses.isEmpty {
                flaws.append(.required("endpoints[\(index)].addresses", "must contain at least 1 address"))
            }
        }
        return flaws
    }

    private static func role(_ role: JSON) -> [Flaw] {
        (role["rules"].array ?? []).enumerated().flatMap { index, rule -> [Flaw] in
            var flaws: [Flaw] = []
            let hasPaths = !(rule["nonResourceURLs"].array ?? []).isEmpty
            let hasResources = !(rule["resources"].array ?? []).isEmpty
            if (rule["verbs"].array ?? []).isEmpty {
                flaws.append(.required("rules[\(index)].verbs", "verbs must contain at least one value"))
            }
            if !hasPaths, (rule["apiGroups"].array ?? []).isEmpty {
                flaws.append(
                    .required("rules[\(index)].apiGroups", "resource rules must supply at least one api group"))
            }
            if !hasPaths, !hasResources {
                flaws.append(.required("rules[\(index)].resources", "resource rules must supply at least one resource"))
            }
            return flaws
        }
    }

    private static func binding(_ binding: JSON) -> [Flaw] {
        let kinds = binding["kind"] == "RoleBinding" ? ["Role", "ClusterRole"] : ["ClusterRole"]
        var flaws = oneOf(binding["roleRef"]["kind"], "roleRef.kind", kinds)
        for (index, subject) in (binding["subjects"].array ?? []).enumerated() {
            let path = "subjects[\(index)]"
            flaws += oneOf(subject["kind"], "\(path).kind", ["ServiceAccount", "User", "Group"])
            if subject["kind"] == "ServiceAccount", subject["namespace"].string ?? "" == "" {
                flaws.append(.required("\(path).namespace"))
            }
        }
        return flaws
    }

    private static func oneOf(_ value: JSON, _ field: String, _ allowed: [String]) -> [Flaw] {
        guard let text = value.string, !text.isEmpty, !allowed.contains(text) else { return [] }
        return [.unsupported(field, value, allowed)]
    }
}
