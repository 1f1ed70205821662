/// Which groups, versions and resources there are.
enum Discovery {
    static let version: JSON = [
        "major": "1", "minor": "32", "gitVersion": "v1.32.4", "gitCommit": "59526cd4867447956156ae3a602fcbac10a2c335",
        "gitTreeState": "clean", "buildDate": "2025-04-22T15:57:13Z", "goVersion": "go1.23.6", "compiler": "gc",
        "platform": "linux/amd64",
    ]

    private static let verbs: JSON = [
        "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
    ]
    private static let all = Resource.stored + Resource.reviews

    /// Groups other than the core, in order, each with its one version.
    static let groups: [String] = all.reduce(into: []) { groups, resource in
        if !resource.group.isEmpty, !groups.contains(resource.group) { groups.append(resource.group) }
    }

    static func answer(path: String, accept: String?) -> JSON? {
        let parts = path.split(separator: "/").map(String.init)
        if wantsAggregated(accept), let answer = aggregated(parts) { return answer }
        switch (parts.first, parts.count) {
        case ("api", 1):
            return [
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [["clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"]],
            ]
        case ("api", 2) where parts[1] == "v1": return list(group: "", "v1")
        case ("apis", 1):
            return ["kind": "APIGroupList", "apiVersion": "v1", "groups": .array(groups.map(group))]
        case ("apis", 2) where groups.contains(parts[1]):
            var answer = group(parts[1])
            answer["kind"] = "APIGroup"
            answer["apiVersion"] = "v1"
            return answer
        case ("apis", 3) where groups.contains(parts[1]) && parts[2] == "v1": return list(group: parts[1], "v1")
        default: return nil
        }
    }

    /// The media type that an aggregated answer is sent as.
    static let aggregatedType = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

    static func wantsAggregated(_ accept: String?) -> Bool {
        (accept ?? "").split(separator: ",").first.map {
            $0.hasPrefix("application/json;") && $0.contains("g=apidiscovery.k8s.io") && $0.contains("v=v2;")
                && $0.contains("as=APIGroupDiscoveryList")
        } ?? false
    }

    static func isAggregated(_ path: String) -> Bool { ["/api", "/apis", "/api/", "/apis/"].contains(path) }

    private static func group(_ name: String) -> JSON {
        let version: JSON = ["groupVersion": .string(name + "/v1"), "version": "v1"]
        return ["name": .string(name), "versions": [version], "preferredVersion": version]
    }

    private static func list(group: String, _ version: String) -> JSON {
        let resources = all.filter { $0.group == group && $0.version == version }.flatMap { resource in
            [entry(resource)] + resource.subresources.sorted().map { subentry(resource, $0) }
        }
        return [
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": .string(group.isEmpty ? version : group + "/" + version), "resources": .array(resources),
        ]
    }

    private static func entry(_ resource: Resource) -> JSON {
        [
            "name": .string(resource.name), "singularName": .string(resource.singular),
            "namespaced": .bool(resource.isNamespaced), "kind": .string(resource.kind),
            "verbs": resource.isReview ? ["create"] : verbs,
            "shortNames": resource.shortNames.isEmpty ? nil : JSON(resource.shortNames),
            "categories": resource.categories.isEmpty ? nil : JSON(resource.categories),
        ]
    }

    private static func subentry(_ resource: Resource, _ subresource: String) -> JSON {
        let (kind, verbs, group) = subkind(resource, subresource)
        return [
            "name": .string(resource.name + "/" + subresource), "singularName": "",
            "namespaced": .bool(resource.isNamespaced), "kind": .string(kind), "verbs": verbs,
            "group": JSON(group), "version": group == nil ? nil : "v1",
        ]
    }

    private static func subkind(_ resource: Resource, _ subresource: String) -> (String, JSON, String?) {
        switch subresource {
        case "token": ("TokenRequest", ["create"], "authentication.k8s.io")
        case "eviction": ("Eviction", ["create"], "policy")
        case "binding": ("Binding", ["create"], nil)
        case "finalize": (resource.kind, ["update"], nil)
        default: (resource.kind, ["get", "patch", "update"], nil)
        }
    }

    private static func aggregated(_ parts: [String]) -> JSON? {
        let items: [JSON]
        switch parts {
        case ["api"]: items = [aggregatedGroup("")]
        case ["apis"]: items = groups.map(aggregatedGroup)
        default: return nil
        }
        return [
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": .object([:]),
            "items": .array(items),
        ]
    }

    private static func aggregatedGroup(_ group: String) -> JSON {
        let resources = all.filter { $0.group == group }.map { resource -> JSON in
            [
                "resource": .string(resource.name),
                "responseKind": [
                    "group": .string(resource.group), "version": "v1", "kind": .string(resource.kind),
                ],
                "scope": resource.isNamespaced ? "Namespaced" : "Cluster",
                "singularResource": .string(resource.singular), "verbs": resource.isReview ? ["create"] : verbs,
                "shortNames": resource.shortNames.isEmpty ? nil : JSON(resource.shortNames),
                "categories": resource.categories.isEmpty ? nil : JSON(resource.categories),
                "subresources": resource.subresources.isEmpty
                    ? nil : .array(resource.subresources.sorted().map { aggregatedSubentry(resource, $0) }),
            ]
        }
        return [
            "metadata": ["name": group.isEmpty ? nil : .string(group), "creationTimestamp": nil],
            "versions": [["version": "v1", "freshness": "Current", "resources": .array(resources)]],
        ]
    }

    private static func aggregatedSubentry(_ resource: Resource, _ subresource: String) -> JSON {
        let (kind, verbs, group) = subkind(resource, subresource)
        return [
            "subresource": .string(subresource),
            "responseKind": [
                "group": .string(group ?? resource.group), "version": "v1", "kind": .string(kind),
            ], "verbs": verbs,
        ]
    }
}
