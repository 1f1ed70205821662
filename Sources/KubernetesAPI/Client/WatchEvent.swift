/// What a watch says (`metav1.WatchEvent`).
public enum WatchEvent<Object: KubernetesObject>: Sendable, Equatable {
    case added(Object)
    case modified(Object)
    /// With the object's last state, and the resource version of its deletion.
    case deleted(Object)
    /// Everything up to this resource version has been told.
    case bookmark(resourceVersion: String)
    case error(KubernetesError.Refusal)

    /// From one document, whose members may come in any order. Nil for a type that a later version of the API may add.
    static func read(_ reader: inout JSONReader) throws -> WatchEvent? {
        guard try reader.beginObject() else { throw reader.fault(.notAnObject) }
        var type: String?
        var object: JSONReader?
        var event: WatchEvent?
        while let key = try reader.key() {
            switch key {
            case "type": type = try reader.string()
            case "object":
                if let type {
                    event = try read(type, &reader)
                } else {
                    object = reader
                    try reader.skip()
                }
            default: try reader.skip()
            }
        }
        guard let type else { throw reader.fault(.wrongKind) }
        if var object { event = try read(type, &object) }
        guard event != nil || !Self.types.contains(type) else { throw reader.fault(.wrongKind) }
        return event
    }

    private static var types: [String] { ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"] }

    private static func read(_ type: String, _ reader: inout JSONReader) throws -> WatchEvent? {
        switch type {
        case "ADDED": return .added(try Object(checking: &reader))
        case "MODIFIED": return .modified(try Object(checking: &reader))
        case "DELETED": return .deleted(try Object(checking: &reader))
        case "BOOKMARK":
            let version = try Object(checking: &reader, named: false).metadata.resourceVersion
            return .bookmark(resourceVersion: version)
        case "ERROR": return .error(KubernetesError.Refusal(try Status(from: &reader)))
        default:
            try reader.skip()
            return nil
        }
    }
}

extension KubernetesObject {
    /// An object that says of what kind it is, as all do but the items of a list: one of another kind is refused, and so is one
    /// without a name or a resource version. A bookmark has no name.
    init(checking reader: inout JSONReader, named: Bool = true) throws {
        self.init()
        var (kind, apiVersion) = ("", "")
        guard try reader.beginObject() else { throw reader.fault(.notAnObject) }
        while let key = try reader.key() {
            switch key {
            case "kind": kind = try reader.string() ?? ""
            case "apiVersion": apiVersion = try reader.string() ?? ""
            default: if try !take(key, from: &reader) { try reader.skip() }
            }
        }
        guard kind == Self.resource.kind, apiVersion == Self.resource.apiVersion, !named || isAddressed else {
            throw reader.fault(.wrongKind)
        }
    }

    /// It can be told from all others of its kind.
    var isAddressed: Bool {
        !metadata.name.isEmpty && (!Self.resource.isNamespaced || !metadata.namespace.isEmpty)
    }
}
