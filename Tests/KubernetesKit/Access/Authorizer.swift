internal import Synchronization

/// What a request wants to do, in the words of RBAC.
public struct Attributes: Sendable, Hashable {
    public var verb: String
    public var group = ""
    public var resource = ""
    public var subresource = ""
    public var namespace = ""
    public var name = ""
    /// For what is no resource: `/version`.
    public var path = ""

    var resourceName: String { subresource.isEmpty ? resource : resource + "/" + subresource }
}

/// One rule of one role, by where it stands.
public struct RuleUse: Sendable, Hashable {
    /// `ClusterRole/NAME` or `Role/NAMESPACE/NAME`.
    public let role: String
    /// Its place in `rules`.
    public let index: Int
    public let verb: String
    public let resource: String
}

/// RBAC (rbac.authorization.k8s.io/v1) from the stored roles and bindings, and a record of which rules were needed.
final class Authorizer: Sendable {
    private let storage: Storage
    private let uses = Mutex<Set<RuleUse>>([])

    init(storage: Storage) { self.storage = storage }

    var used: Set<RuleUse> { uses.withLock { $0 } }

    /// Nil: allowed. Otherwise why not, as the `Forbidden` message ends.
    func denial(_ user: User, _ attributes: Attributes, isRecorded: Bool = true) -> String? {
        if user.groups.contains("system:masters") { return nil }
        guard let use = storage.read({ Self.rule(for: user, attributes, in: $0) }) else {
            return Self.words(user, attributes)
        }
        if isRecorded { _ = uses.withLock { $0.insert(use) } }
        return nil
    }

    static func words(_ user: User, _ attributes: Attributes) -> String {
        guard attributes.path.isEmpty else {
            return "User \"\(user.name)\" cannot \(attributes.verb) path \"\(attributes.path)\""
        }
        let place =
            attributes.namespace.isEmpty ? "at the cluster scope" : "in the namespace \"\(attributes.namespace)\""
        return "User \"\(user.name)\" cannot \(attributes.verb) resource \"\(attributes.resourceName)\" in API group "
            + "\"\(attributes.group)\" \(place)"
    }

    /// Every rule that a user has, in one namespace or, with an empty one, in the cluster.
    static func rules(
        of user: User, namespace: String, in state: Storage.State
    ) -> [(role: String, index: Int, rule: JSON)] {
        var found: [(String, Int, JSON)] = []
        func add(_ binding: StoredObject, home: String) {
            guard (binding.json["subjects"].array ?? []).contains(where: { applies($0, to: user, home: home) }) else {
                return
            }
            let reference = binding.json["roleRef"]
            let name = reference["name"].string ?? ""
            let isClusterRole = reference["kind"] == "ClusterRole"
            let role = isClusterRole ? state.object(.clusterRoles, "", name) : state.object(.roles, home, name)
            let title = isClusterRole ? "ClusterRole/\(name)" : "Role/\(home)/\(name)"
            for (index, rule) in (role?.json["rules"].array ?? []).enumerated() { found.append((title, index, rule)) }
        }
        for key in state[.clusterRoleBindings].keys {
            if let binding = state[.clusterRoleBindings][key] { add(binding, home: "") }
        }
        if !namespace.isEmpty {
            for key in state[.roleBindings].keys(in: namespace) {
                if let binding = state[.roleBindings][key] { add(binding, home: namespace) }
            }
        }
        return found
    }

    /// Every verb on every resource that a role gives, as uses: without those that were used, what it gives in vain.
    static func grants(of role: String, rules: [JSON]) -> Set<RuleUse> {
        var grants: Set<RuleUse> = []
        for (index, rule) in rules.enumerated() {
            for verb in (rule["verbs"].array ?? []).compactMap(\.string) {
                for resource in ((rule["resources"].array ?? []) + (rule["nonResourceURLs"].array ?? [])).compactMap(
                    \.string)
                {
                    grants.insert(RuleUse(role: role, index: index, verb: verb, resource: resource))
                }
            }
        }
        return grants
    }

    private static func rule(for user: User, _ attributes: Attributes, in state: Storage.State) -> RuleUse? {
        for (role, index, rule) in rules(of: user, namespace: attributes.namespace, in: state)
        where allows(rule, attributes) {
            return RuleUse(
                role: role, index: index, verb: attributes.verb,
                resource: attributes.path.isEmpty ? attributes.resourceName : attributes.path)
        }
        return nil
    }

    private static func applies(_ subject: JSON, to user: User, home: String) -> Bool {
        let name = subject["name"].string ?? ""
        switch subject["kind"].string {
        case "User": return user.name == name
        case "Group": return user.groups.contains(name)
        case "ServiceAccount":
            let namespace = subject["namespace"].string ?? home
            return user.name == "system:serviceaccount:\(namespace):\(name)"
        default: return false
        }
    }

    static func allows(_ rule: JSON, _ attributes: Attributes) -> Bool {
        func has(_ list: String, _ value: String) -> Bool {
            (rule[list].array ?? []).contains { $0 == "*" || $0.string == value }
        }
        guard has("verbs", attributes.verb) else { return false }
        guard attributes.path.isEmpty else {
            return (rule["nonResourceURLs"].array ?? []).compactMap(\.string).contains { pattern in
                pattern == attributes.path || pattern == "*"
                    || (pattern.hasSuffix("*") && attributes.path.hasPrefix(pattern.dropLast()))
            }
        }
        guard has("apiGroups", attributes.group) else { return false }
        let isResource =
            has("resources", attributes.resourceName)
            || (!attributes.subresource.isEmpty
                && (rule["resources"].array ?? []).contains(.string("*/" + attributes.subresource)))
        guard isResource else { return false }
        let names = (rule["resourceNames"].array ?? []).compactMap(\.string)
        return names.isEmpty || names.contains(attributes.name)
    }
}
