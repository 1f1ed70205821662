/// One resource of the API: where it is served, what it is called, and what can be done with it.
public struct Resource: Sendable, Hashable {
    public let group: String
    public let version: String
    /// As it stands in paths, `pods`.
    public let name: String
    public let singular: String
    public let kind: String
    public let isNamespaced: Bool
    public let shortNames: [String]
    public let categories: [String]
    /// `status`, and those that the kind has beside it.
    public let subresources: Set<String>
    /// Where objects are kept: `events` of both groups are the same objects.
    let storage: String

    public var apiVersion: String { group.isEmpty ? version : group + "/" + version }
    /// As errors write it: `daemonsets.apps`.
    public var qualifiedName: String { group.isEmpty ? name : name + "." + group }
    var path: String { group.isEmpty ? "/api/\(version)" : "/apis/\(group)/\(version)" }

    public static func == (one: Resource, other: Resource) -> Bool {
        one.name == other.name && one.group == other.group && one.version == other.version
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(group)
        hasher.combine(name)
    }

    public init(
        _ name: String, _ kind: String, group: String = "", version: String = "v1", namespaced: Bool = true,
        short: [String] = [], categories: [String] = [], subresources: Set<String> = [], storedAs storage: String? = nil
    ) {
        self.group = group
        self.version = version
        self.name = name
        self.singular = kind.lowercased()
        self.kind = kind
        self.isNamespaced = namespaced
        self.shortNames = short
        self.categories = categories
        self.subresources = subresources
        self.storage = storage ?? (group.isEmpty ? name : name + "." + group)
    }
}

extension Resource {
    public static let namespaces = Resource(
        "namespaces", "Namespace", namespaced: false, short: ["ns"], subresources: ["status", "finalize"])
    public static let pods = Resource(
        "pods", "Pod", short: ["po"], categories: ["all"],
        subresources: ["status", "binding", "eviction", "ephemeralcontainers"])
    public static let nodes = Resource("nodes", "Node", namespaced: false, short: ["no"], subresources: ["status"])
    public static let services = Resource(
        "services", "Service", short: ["svc"], categories: ["all"], subresources: ["status"])
    public static let serviceAccounts = Resource(
        "serviceaccounts", "ServiceAccount", short: ["sa"], subresources: ["token"])
    public static let configMaps = Resource("configmaps", "ConfigMap", short: ["cm"])
    public static let secrets = Resource("secrets", "Secret")
    public static let endpointSlices = Resource("endpointslices", "EndpointSlice", group: "discovery.k8s.io")
    public static let leases = Resource("leases", "Lease", group: "coordination.k8s.io")
    public static let coreEvents = Resource("events", "Event", short: ["ev"], storedAs: "events")
    public static let events = Resource("events", "Event", group: "events.k8s.io", short: ["ev"], storedAs: "events")
    public static let daemonSets = Resource(
        "daemonsets", "DaemonSet", group: "apps", short: ["ds"], categories: ["all"], subresources: ["status"])
    public static let deployments = Resource(
        "deployments", "Deployment", group: "apps", short: ["deploy"], categories: ["all"], subresources: ["status"])
    public static let statefulSets = Resource(
        "statefulsets", "StatefulSet", group: "apps", short: ["sts"], categories: ["all"], subresources: ["status"])
    public static let podDisruptionBudgets = Resource(
        "poddisruptionbudgets", "PodDisruptionBudget", group: "policy", short: ["pdb"], subresources: ["status"])
    public static let networkPolicies = Resource(
        "networkpolicies", "NetworkPolicy", group: "networking.k8s.io", short: ["netpol"])
    public static let priorityClasses = Resource(
        "priorityclasses", "PriorityClass", group: "scheduling.k8s.io", namespaced: false, short: ["pc"])
    public static let clusterRoles = Resource(
        "clusterroles", "ClusterRole", group: "rbac.authorization.k8s.io", namespaced: false)
    public static let clusterRoleBindings = Resource(
        "clusterrolebindings", "ClusterRoleBinding", group: "rbac.authorization.k8s.io", namespaced: false)
    public static let roles = Resource("roles", "Role", group: "rbac.authorization.k8s.io")
    public static let roleBindings = Resource("rolebindings", "RoleBinding", group: "rbac.authorization.k8s.io")

    /// What is stored, in the order in which it is discovered.
    public static let stored: [Resource] = [
        configMaps, coreEvents, namespaces, nodes, pods, secrets, serviceAccounts, services, daemonSets, deployments,
        statefulSets, events, leases, endpointSlices, networkPolicies, podDisruptionBudgets, clusterRoleBindings,
        clusterRoles, roleBindings, roles, priorityClasses,
    ]

    /// What is asked and answered at once, and never stored.
    static let reviews: [Resource] = [
        Resource("tokenreviews", "TokenReview", group: "authentication.k8s.io", namespaced: false),
        Resource("selfsubjectreviews", "SelfSubjectReview", group: "authentication.k8s.io", namespaced: false),
        Resource(
            "selfsubjectaccessreviews", "SelfSubjectAccessReview", group: "authorization.k8s.io", namespaced: false),
        Resource("selfsubjectrulesreviews", "SelfSubjectRulesReview", group: "authorization.k8s.io", namespaced: false),
        Resource("subjectaccessreviews", "SubjectAccessReview", group: "authorization.k8s.io", namespaced: false),
    ]

    var isReview: Bool { Self.reviews.contains(self) }

    static func find(group: String, version: String, name: String) -> Resource? {
        (stored + reviews).first { $0.name == name && $0.group == group && $0.version == version }
    }
}
