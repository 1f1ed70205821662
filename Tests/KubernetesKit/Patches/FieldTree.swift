/// A set of fields as `FieldsV1` writes it: a tree of `f:NAME`, `k:{KEYS}` and `v:VALUE`; `.` is the inner place itself.
struct FieldTree: Sendable, Equatable {
    typealias Path = [String]

    private(set) var json: JSON

    init(_ json: JSON = .object([:])) { self.json = json == .null ? .object([:]) : json }

    init(_ paths: [Path]) {
        json = .object([:])
        for path in paths { insert(path) }
    }

    var isEmpty: Bool { json == .object([:]) }

    mutating func insert(_ path: Path) { Self.insert(path[...], into: &json) }
    mutating func remove(_ path: Path) { _ = Self.remove(path[...], from: &json) }

    func contains(_ path: Path) -> Bool {
        var node = json
        for element in path {
            guard let inner = node.object?[element] else { return false }
            node = inner
        }
        return node == .object([:]) || node.object?["."] != nil
    }

    /// Whether the place or anything below it is in the set.
    func reaches(_ path: Path) -> Bool {
        var node = json
        for element in path {
            guard let inner = node.object?[element] else { return false }
            node = inner
        }
        return true
    }

    var paths: [Path] {
        var found: [Path] = []
        func walk(_ node: JSON, _ path: Path) {
            guard let members = node.object, !members.isEmpty else {
                if !path.isEmpty { found.append(path) }
                return
            }
            for name in members.keys.sorted() {
                if name == "." {
                    found.append(path)
                } else {
                    walk(members[name, default: .null], path + [name])
                }
            }
        }
        walk(json, [])
        return found
    }

    private static func insert(_ path: ArraySlice<String>, into node: inout JSON) {
        guard let first = path.first else { return }
        guard case .object(var members) = node else { return }
        node = .null
        var inner = members[first] ?? .object([:])
        if path.count > 1 {
            // A leaf that gets children stays in the set by its dot.
            if members[first] == .object([:]) { inner = .object([".": .object([:])]) }
            insert(path.dropFirst(), into: &inner)
        } else if members[first] != nil, inner != .object([:]) {
            if case .object(var children) = inner {
                children["."] = .object([:])
                inner = .object(children)
            }
        }
        members[first] = inner
        node = .object(members)
    }

    /// - Returns: whether nothing is left here.
    private static func remove(_ path: ArraySlice<String>, from node: inout JSON) -> Bool {
        guard case .object(var members) = node else { return false }
        guard let first = path.first else {
            guard !members.isEmpty else { return true }
            members.removeValue(forKey: ".")
            node = .object(members)
            return members.isEmpty
        }
        guard var inner = members[first] else { return false }
        if remove(path.dropFirst(), from: &inner) {
            members.removeValue(forKey: first)
        } else {
            members[first] = inner
        }
        node = .object(members)
        return members.isEmpty
    }
}

/// Fields of objects by their paths in a `FieldTree`.
enum Fields {
    /// Owned as a whole: their Go types are marked as atomic.
    private static let atomicTypes: Set<String> = [
        "LabelSelector", "ObjectReference", "LocalObjectReference", "TypedLocalObjectReference", "NodeSelector",
        "RoleRef",
        "KeySelector", "ObjectFieldSelector", "ResourceFieldSelector",
    ]
    /// The server's own, and what names the object.
    private static let unowned: Set<String> = [
        "name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink",
        "deletionTimestamp", "deletionGracePeriodSeconds", "generateName",
    ]

    private static func isAtomic(_ schema: Schema, _ name: String) -> Bool {
        switch schema {
        case .type(let type): atomicTypes.contains(type)
        case .map: name == "nodeSelector" || name == "selector"
        case .list(_, .keyed), .list(_, .set): false
        default: true
        }
    }

    /// Every leaf of a value, and every element of keyed lists.
    static func leaves(of value: JSON, _ schema: Schema, _ path: FieldTree.Path = []) -> [FieldTree.Path] {
        var found: [FieldTree.Path] = []
        collect(value, schema, path, into: &found)
        return found
    }

    private static func collect(
        _ value: JSON, _ schema: Schema, _ path: FieldTree.Path, into found: inout [FieldTree.Path]
    ) {
        let name = path.last.map { String($0.dropFirst(2)) } ?? ""
        guard path.isEmpty || !isAtomic(schema, name) else { return found.append(path) }
        switch value {
        case .object(let members):
            if members.isEmpty, !path.isEmpty { found.append(path) }
            for (member, inner) in members where isOwned(member, path) {
                collect(inner, schema.member(member) ?? .any, path + ["f:" + member], into: &found)
            }
        case .array(let elements):
            guard case .list(let element, let merge) = schema else { return found.append(path) }
            if elements.isEmpty { found.append(path) }
            for inner in elements {
                let place = path + [identity(inner, merge)]
                found.append(place)
                if case .keyed = merge { collect(inner, element, place, into: &found) }
            }
        default: found.append(path)
        }
    }

    private static func isOwned(_ member: String, _ path: FieldTree.Path) -> Bool {
        if path.isEmpty { return member != "apiVersion" && member != "kind" }
        return path != ["f:metadata"] || !unowned.contains(member)
    }

    /// Which leaves are new or other than before, and which are gone. What is equal is not looked into.
    static func difference(
        from old: JSON, to new: JSON, _ schema: Schema, _ path: FieldTree.Path = []
    ) -> (changed: [FieldTree.Path], removed: [FieldTree.Path]) {
        if old == new { return ([], []) }
        if old == .null { return (leaves(of: new, schema, path), []) }
        if new == .null { return ([], leaves(of: old, schema, path)) }
        let name = path.last.map { String($0.dropFirst(2)) } ?? ""
        if !path.isEmpty, isAtomic(schema, name) { return ([path], []) }
        var changed: [FieldTree.Path] = []
        var removed: [FieldTree.Path] = []
        func add(_ inner: (changed: [FieldTree.Path], removed: [FieldTree.Path])) {
            changed += inner.changed
            removed += inner.removed
        }
        switch (old, new) {
        case (.object(let before), .object(let after)):
            for member in Set(before.keys).union(after.keys) where isOwned(member, path) {
                add(
                    difference(
                        from: before[member] ?? .null, to: after[member] ?? .null, schema.member(member) ?? .any,
                        path + ["f:" + member]))
            }
        case (.array(let before), .array(let after)):
            guard case .list(let element, let merge) = schema else { return ([path], []) }
            let known = Dictionary(before.map { (identity($0, merge), $0) }) { $1 }
            let wanted = Dictionary(after.map { (identity($0, merge), $0) }) { $1 }
            for key in Set(known.keys).union(wanted.keys) {
                let place = path + [key]
                guard let was = known[key] else {
                    changed.append(place)
                    if case .keyed = merge { changed += leaves(of: wanted[key] ?? .null, element, place) }
                    continue
                }
                guard let now = wanted[key] else {
                    removed.append(place)
                    if case .keyed = merge { removed += leaves(of: was, element, place) }
                    continue
                }
                if case .keyed = merge { add(difference(from: was, to: now, element, place)) }
            }
        default: return ([path], [])
        }
        return (changed, removed)
    }

    /// `k:{"name":"app"}` or `v:"finalizer"`.
    static func identity(_ element: JSON, _ merge: Schema.ListMerge) -> String {
        guard case .keyed(let keys) = merge else { return "v:" + element.text }
        var identity: [String: JSON] = [:]
        for key in keys {
            // The only key with a default.
            identity[key] = element[key] == .null && key == "protocol" ? "TCP" : element[key]
        }
        return "k:" + JSON.object(identity).text
    }

    /// What stands at a path; nil where there is nothing.
    static func value(at path: FieldTree.Path, in object: JSON, _ schema: Schema) -> JSON? {
        var value = object
        var schema = schema
        for element in path {
            if element.hasPrefix("f:") {
                let name = String(element.dropFirst(2))
                guard let inner = value.object?[name] else { return nil }
                value = inner
                schema = schema.member(name) ?? .any
            } else {
                guard case .list(let inner, let merge) = schema,
                    let found = value.array?.first(where: { identity($0, merge) == element })
                else { return nil }
                value = found
                schema = inner
            }
        }
        return value
    }

    /// Takes away what stands at a path; lists and maps that become empty go, too.
    static func remove(_ path: ArraySlice<String>, from value: inout JSON, _ schema: Schema) {
        guard let first = path.first else { return }
        if first.hasPrefix("f:") {
            let name = String(first.dropFirst(2))
            guard case .object(var members) = value, var inner = members[name] else { return }
            if path.count == 1 {
                members.removeValue(forKey: name)
            } else {
                remove(path.dropFirst(), from: &inner, schema.member(name) ?? .any)
                let isEmpty = inner == .object([:]) || inner == .array([])
                if isEmpty { members.removeValue(forKey: name) } else { members[name] = inner }
            }
            value = .object(members)
        } else {
            guard case .array(var elements) = value, case .list(let element, let merge) = schema,
                let index = elements.firstIndex(where: { identity($0, merge) == first })
            else { return }
            if path.count == 1 {
                elements.remove(at: index)
            } else {
                remove(path.dropFirst(), from: &elements[index], element)
            }
            value = .array(elements)
        }
    }

    /// As errors write it: `.spec.containers[name="app"].image`.
    static func text(_ path: FieldTree.Path) -> String {
        path.map { element in
            if element.hasPrefix("f:") { return "." + element.dropFirst(2) }
            guard element.hasPrefix("k:"), let keys = try? JSON(parsing: String(element.dropFirst(2))) else {
                return "[=" + element.dropFirst(2) + "]"
            }
            return "[" + keys.keys.map { "\($0)=\(keys[$0].text)" }.joined(separator: ",") + "]"
        }.joined()
    }
}
