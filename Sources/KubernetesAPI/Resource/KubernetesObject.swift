/// An object of the API, decoded to the fields that we read.
///
/// What is not decoded is not kept: such an object must never be sent back whole with `update`, which would erase the rest. Only
/// `WritableObject`s can be.
public protocol KubernetesObject: JSONReadable, Sendable, Hashable {
    static var resource: KubernetesResource { get }
    var metadata: ObjectMeta { get set }
}

extension KubernetesObject {
    public var name: String { metadata.name }
    /// Empty for kinds that belong to no namespace.
    public var namespace: String { metadata.namespace }
    public var key: ObjectKey { ObjectKey(namespace: metadata.namespace, name: metadata.name) }
}

/// An object that we write: all of its fields are known here.
public protocol WritableObject: KubernetesObject {
    /// The members beside `apiVersion`, `kind` and `metadata`.
    var content: [JSONValue.Member] { get }
}

extension WritableObject {
    public var json: JSONValue {
        .object(
            [
                .init("apiVersion", .string(Self.resource.apiVersion)), .init("kind", .string(Self.resource.kind)),
                .init("metadata", metadata.json),
            ] + content)
    }
}

/// Where an object is: one name can be used again by a later object of another UID.
public struct ObjectKey: Sendable, Hashable, Comparable, CustomStringConvertible {
    public var namespace: String
    public var name: String

    public init(namespace: String = "", name: String) {
        self.namespace = namespace
        self.name = name
    }

    public var description: String { namespace.isEmpty ? name : namespace + "/" + name }

    public static func < (left: Self, right: Self) -> Bool {
        (left.namespace, left.name) < (right.namespace, right.name)
    }
}
