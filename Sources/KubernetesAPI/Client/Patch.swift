/// A change to an object that leaves everything else as it is.
public struct Patch: Sendable {
    enum Kind: Sendable {
        case merge
        case strategicMerge
        case json
        case apply(manager: String, force: Bool)
    }

    let kind: Kind
    let body: JSONValue

    /// RFC 7396: null removes, lists are replaced whole.
    public static func merge(_ body: JSONValue) -> Patch { Patch(kind: .merge, body: body) }

    /// Lists with a merge key (conditions by their type) are merged by it.
    public static func strategicMerge(_ body: JSONValue) -> Patch { Patch(kind: .strategicMerge, body: body) }

    /// RFC 6902: a list of operations, all or none of which are done.
    public static func json(_ operations: [JSONValue]) -> Patch { Patch(kind: .json, body: .array(operations)) }

    /// Server-side apply: the object has these fields, whatever it had, and is made if there is none. A field that another manager
    /// owns is a conflict unless forced.
    public static func apply<Object: WritableObject>(
        _ object: Object, manager: String, force: Bool = true
    ) -> Patch {
        Patch(kind: .apply(manager: manager, force: force), body: object.json)
    }

    /// The same for a part of any kind's object; `body` has apiVersion, kind and metadata.name.
    public static func apply(_ body: JSONValue, manager: String, force: Bool = true) -> Patch {
        Patch(kind: .apply(manager: manager, force: force), body: body)
    }

    var contentType: String {
        switch kind {
        case .merge: "application/merge-patch+json"
        case .strategicMerge: "application/strategic-merge-patch+json"
        case .json: "application/json-patch+json"
        // JSON is YAML.
        case .apply: "application/apply-patch+yaml"
        }
    }

    var query: [(String, String)] {
        guard case .apply(let manager, let force) = kind else { return [] }
        return [("fieldManager", manager), ("force", force ? "true" : "false")]
    }
}
