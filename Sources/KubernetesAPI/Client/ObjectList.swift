/// All objects of a selection as they were at one moment.
public struct ObjectList<Object: KubernetesObject>: Sendable {
    public var items: [Object]
    /// The moment: a watch from here misses nothing.
    public var resourceVersion: String
}

/// A page of a list.
struct ListPage<Object: KubernetesObject> {
    var items: [Object] = []
    var resourceVersion = ""
    /// What asks for the next page; nil on the last.
    var next: String?

    /// Anything that does not say that it is a list of this kind is refused: an answer of somebody else's, taken for an empty list,
    /// would un-enrol the cluster. `trim` is done to each object while it is read.
    init(from reader: inout JSONReader, trim: (inout Object) -> Void) throws {
        var (kind, apiVersion) = ("", "")
        var hasItems = false
        guard try reader.beginObject() else { throw reader.fault(.notAnObject) }
        while let key = try reader.key() {
            switch key {
            case "kind": kind = try reader.string() ?? ""
            case "apiVersion": apiVersion = try reader.string() ?? ""
            case "metadata":
                guard try reader.beginObject() else { continue }
                while let key = try reader.key() {
                    switch key {
                    case "resourceVersion": resourceVersion = try reader.string() ?? ""
                    case "continue": next = try reader.nonEmptyString()
                    default: try reader.skip()
                    }
                }
            case "items":
                hasItems = true
                items = try reader.list { reader in
                    var object = try Object(from: &reader)
                    guard object.isAddressed else { throw reader.fault(.wrongKind) }
                    trim(&object)
                    return object
                }
            default: try reader.skip()
            }
        }
        guard kind == Object.resource.kind + "List", apiVersion == Object.resource.apiVersion,
            !resourceVersion.isEmpty, hasItems
        else { throw reader.fault(.wrongKind) }
    }
}
