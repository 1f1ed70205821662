/// `metav1.ObjectMeta`, without managed fields and without what `kubectl apply` keeps in its annotation, which can double an object.
public struct ObjectMeta: Sendable, Hashable, JSONReadable {
    public var name = ""
    public var generateName: String?
    /// Empty for kinds that belong to no namespace.
    public var namespace = ""
    public var uid = ""
    public var resourceVersion = ""
    public var generation: Int?
    public var labels: [String: String] = [:]
    public var annotations: [String: String] = [:]
    public var creationTimestamp: Timestamp?
    /// Set while the object is being deleted.
    public var deletionTimestamp: Timestamp?
    public var deletionGracePeriodSeconds: Int?
    public var ownerReferences: [OwnerReference] = []
    public var finalizers: [String] = []

    private static let lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

    public init() {}

    public init(
        name: String, namespace: String = "", uid: String = "", resourceVersion: String = "",
        labels: [String: String] = [:], annotations: [String: String] = [:],
        ownerReferences: [OwnerReference] = [], deletionTimestamp: Timestamp? = nil
    ) {
        self.name = name
        self.namespace = namespace
        self.uid = uid
        self.resourceVersion = resourceVersion
        self.labels = labels
        self.annotations = annotations
        self.ownerReferences = ownerReferences
        self.deletionTimestamp = deletionTimestamp
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "name": name = try reader.string() ?? ""
        case "generateName": generateName = try reader.nonEmptyString()
        case "namespace": namespace = try reader.string() ?? ""
        case "uid": uid = try reader.string() ?? ""
        case "resourceVersion": resourceVersion = try reader.string() ?? ""
        case "generation": generation = try reader.integer()
        case "labels": labels = try reader.strings()
        case "annotations":
            annotations = try reader.strings()
            annotations[Self.lastApplied] = nil
        case "creationTimestamp": creationTimestamp = try Timestamp(from: &reader)
        case "deletionTimestamp": deletionTimestamp = try Timestamp(from: &reader)
        case "deletionGracePeriodSeconds": deletionGracePeriodSeconds = try reader.integer()
        case "ownerReferences": ownerReferences = try reader.list { try OwnerReference(from: &$0) }
        case "finalizers": finalizers = try reader.stringList()
        default: return false
        }
        return true
    }

    /// What a request says of an object: the fields that the server alone sets are left out.
    var json: JSONValue {
        .members([
            "name": name.isEmpty ? nil : .string(name),
            "generateName": generateName.map { .string($0) },
            "namespace": namespace.isEmpty ? nil : .string(namespace),
            "uid": uid.isEmpty ? nil : .string(uid),
            "resourceVersion": resourceVersion.isEmpty ? nil : .string(resourceVersion),
            "labels": labels.isEmpty ? nil : .strings(labels),
            "annotations": annotations.isEmpty ? nil : .strings(annotations),
            "ownerReferences": ownerReferences.isEmpty ? nil : .array(ownerReferences.map(\.json)),
            "finalizers": finalizers.isEmpty ? nil : .strings(finalizers),
        ])
    }
}

/// `metav1.OwnerReference`.
public struct OwnerReference: Sendable, Hashable, JSONReadable {
    public var apiVersion = ""
    public var kind = ""
    public var name = ""
    public var uid = ""
    public var isController = false

    public init() {}

    public init(apiVersion: String, kind: String, name: String, uid: String, isController: Bool = false) {
        self.apiVersion = apiVersion
        self.kind = kind
        self.name = name
        self.uid = uid
        self.isController = isController
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "apiVersion": apiVersion = try reader.string() ?? ""
        case "kind": kind = try reader.string() ?? ""
        case "name": name = try reader.string() ?? ""
        case "uid": uid = try reader.string() ?? ""
        case "controller": isController = try reader.bool() ?? false
        default: return false
        }
        return true
    }

    var json: JSONValue {
        .members([
            "apiVersion": .string(apiVersion), "kind": .string(kind), "name": .string(name), "uid": .string(uid),
            "controller": isController ? .bool(true) : nil,
        ])
    }
}

/// `v1.ObjectReference`: what an Event or an endpoint speaks of.
public struct ObjectReference: Sendable, Hashable, JSONReadable {
    public var apiVersion = ""
    public var kind = ""
    public var namespace = ""
    public var name = ""
    public var uid = ""
    public var resourceVersion = ""
    public var fieldPath = ""

    public init() {}

    public init(kind: String, namespace: String = "", name: String, uid: String = "", apiVersion: String = "v1") {
        self.apiVersion = apiVersion
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.uid = uid
    }

    public init<Object: KubernetesObject>(_ object: Object) {
        self.init(
            kind: Object.resource.kind, namespace: object.namespace, name: object.name, uid: object.metadata.uid,
            apiVersion: Object.resource.apiVersion)
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "apiVersion": apiVersion = try reader.string() ?? ""
        case "kind": kind = try reader.string() ?? ""
        case "namespace": namespace = try reader.string() ?? ""
        case "name": name = try reader.string() ?? ""
        case "uid": uid = try reader.string() ?? ""
        case "resourceVersion": resourceVersion = try reader.string() ?? ""
        case "fieldPath": fieldPath = try reader.string() ?? ""
        default: return false
        }
        return true
    }

    var json: JSONValue {
        .members([
            "apiVersion": apiVersion.isEmpty ? nil : .string(apiVersion), "kind": .string(kind),
            "namespace": namespace.isEmpty ? nil : .string(namespace), "name": .string(name),
            "uid": uid.isEmpty ? nil : .string(uid),
            "resourceVersion": resourceVersion.isEmpty ? nil : .string(resourceVersion),
            "fieldPath": fieldPath.isEmpty ? nil : .string(fieldPath),
        ])
    }
}
