/// Kubernetes' own merge: lists of objects are merged by key where the type says so, and directives say what else is meant.
///
/// Specification: sig-api-machinery/strategic-merge-patch.md. `$patch: delete|replace|merge`, `$deleteFromPrimitiveList/F`,
/// `$setElementOrder/F`, `$retainKeys`.
enum StrategicMergePatch {
    static func apply(_ patch: JSON, to value: JSON, schema: Schema) throws -> JSON {
        guard let changes = patch.object else {
            throw Refusal.badRequest("the patch is not an object")
        }
        return try merge(changes, into: value.object ?? [:], schema: schema) ?? .object([:])
    }

    /// Nil: the patch deletes it.
    private static func merge(_ changes: [String: JSON], into members: [String: JSON], schema: Schema) throws -> JSON? {
        var changes = changes
        switch changes.removeValue(forKey: "$patch") {
        case .none, .some("merge"): break
        case .some("replace"): return .object(changes)
        case .some("delete"): return .none
        case .some(let directive):
            throw Refusal.badRequest("Unknown patch type found: \(directive.text)")
        }
        var members = members
        if let retained = changes.removeValue(forKey: "$retainKeys")?.array {
            members = members.filter { retained.contains(.string($0.key)) }
        }
        var orders: [String: [JSON]] = [:]
        for (name, change) in changes where name.hasPrefix("$") {
            changes.removeValue(forKey: name)
            if let list = suffix(of: name, after: "$setElementOrder/") {
                orders[list] = change.array ?? []
            } else if let list = suffix(of: name, after: "$deleteFromPrimitiveList/") {
                let gone = Set(change.array ?? [])
                if let elements = members[list]?.array {
                    members[list] = .array(elements.filter { !gone.contains($0) })
                }
            } else {
                throw Refusal.badRequest("unknown directive \(name)")
            }
        }
        for (name, change) in changes {
            let field = schema.member(name) ?? .any
            switch change {
            case .null: members.removeValue(forKey: name)
            case .object(let inner):
                // A map of strings is merged, too; what is of no known type is merged as RFC 7386 says.
                if let merged = try merge(inner, into: members[name]?.object ?? [:], schema: field) {
                    members[name] = merged
                } else {
                    members.removeValue(forKey: name)
                }
            case .array(let elements):
                members[name] = .array(
                    try merge(elements, into: members[name]?.array ?? [], list: field, order: orders[name]))
            default: members[name] = change
            }
        }
        for (name, order) in orders where changes[name] == nil {
            guard let elements = members[name]?.array else { continue }
            members[name] = .array(sorted(elements, by: order, key: patchKey(schema.member(name) ?? .any)))
        }
        return .object(members)
    }

    private static func merge(
        _ changes: [JSON], into elements: [JSON], list: Schema, order: [JSON]?
    ) throws -> [JSON] {
        if case .list(_, .set) = list {
            let merged = elements + changes.filter { !elements.contains($0) }
            return order.map { sorted(merged, by: $0, key: nil) } ?? merged
        }
        guard let key = patchKey(list), let element = list.element?.schema else {
            return changes.filter { $0["$patch"] == .null }
        }
        if changes.contains(where: { $0["$patch"] == "replace" }) { return changes.filter { $0["$patch"] == .null } }
        var merged = elements
        for change in changes {
            guard let members = change.object, let identity = members[key] else {
                throw Refusal.badRequest("map: \(change.text) does not contain declared merge key: \(key)")
            }
            let index = merged.firstIndex { $0[key] == identity }
            let result = try merge(members, into: index.map { merged[$0].object ?? [:] } ?? [:], schema: element)
            switch (index, result) {
            case (let index?, let result?): merged[index] = result
            case (let index?, nil): merged.remove(at: index)
            case (nil, let result?): merged.append(result)
            case (nil, nil): break
            }
        }
        return order.map { sorted(merged, by: $0, key: key) } ?? merged
    }

    /// In the patch's order; what it does not name keeps its place behind what it stood behind.
    private static func sorted(_ elements: [JSON], by order: [JSON], key: String?) -> [JSON] {
        func identity(_ element: JSON) -> JSON { key.map { element[$0] } ?? element }
        let wanted = order.map(identity)
        var named = elements.filter { wanted.contains(identity($0)) }
        named.sort { one, other in
            (wanted.firstIndex(of: identity(one)) ?? 0) < (wanted.firstIndex(of: identity(other)) ?? 0)
        }
        var result: [JSON] = named
        for (position, element) in elements.enumerated() where !wanted.contains(identity(element)) {
            let before = elements[..<position].last.flatMap { previous in
                result.firstIndex { identity($0) == identity(previous) }
            }
            result.insert(element, at: before.map { $0 + 1 } ?? 0)
        }
        return result
    }

    static func patchKey(_ list: Schema) -> String? {
        switch list {
        case .list(_, .keyed(let keys)): keys.first
        case .list(_, .patchKeyed(let key)): key
        default: nil
        }
    }

    private static func suffix(of text: String, after prefix: String) -> String? {
        text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : nil
    }
}
