/// Something that RBAC can grant (`authorization.k8s.io/v1.ResourceAttributes`), in all namespaces.
public struct AccessRight: Sendable, Hashable, CustomStringConvertible {
    public let verb: String
    /// Empty for the core's.
    public let group: String
    public let resource: String
    /// Of one object; empty for all.
    public let name: String

    public init(_ verb: String, _ resource: String, group: String = "", name: String = "") {
        self.verb = verb
        self.group = group
        self.resource = resource
        self.name = name
    }

    /// As `kubectl auth can-i` is asked.
    public var description: String {
        verb + " " + resource + (group.isEmpty ? "" : "." + group) + (name.isEmpty ? "" : "/" + name)
    }
}

/// `authorization.k8s.io/v1.SelfSubjectAccessReview`: whether we may do something, asked of the API server.
public struct SelfSubjectAccessReview: WritableObject {
    public static let resource = KubernetesResource(
        group: "authorization.k8s.io", version: "v1", plural: "selfsubjectaccessreviews",
        kind: "SelfSubjectAccessReview", isNamespaced: false)

    public var metadata = ObjectMeta()
    /// Sent, and never read back: the server echoes it.
    public var right: AccessRight?
    public var isAllowed = false

    public init() {}

    public init(_ right: AccessRight) {
        self.right = right
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "status":
            guard try reader.beginObject() else { return true }
            while let key = try reader.key() {
                if key == "allowed" { isAllowed = try reader.bool() ?? false } else { try reader.skip() }
            }
        default: return false
        }
        return true
    }

    public var content: [JSONValue.Member] {
        guard let right else { return [] }
        return [
            .init(
                "spec",
                [
                    "resourceAttributes": .members([
                        "verb": .string(right.verb), "group": .string(right.group), "resource": .string(right.resource),
                        "name": right.name.isEmpty ? nil : .string(right.name),
                    ])
                ])
        ]
    }
}
