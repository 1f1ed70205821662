/// Server-side apply: a manager says which fields it wants, and no more.
///
/// What it wanted before and wants no longer goes, unless somebody else wants it, too. What somebody else has set to another value
/// is a conflict, unless it is forced.
extension Registry {
    func apply(
        _ resource: Resource, _ namespace: String, _ name: String, subresource: String, _ body: JSON,
        _ options: WriteOptions
    ) throws -> (StoredObject, isNew: Bool) {
        guard body["kind"].string == resource.kind, body["apiVersion"].string == resource.apiVersion else {
            throw Refusal.badRequest(
                "Incorrect version specified in apply patch. Specified patch version: "
                    + "\(body["apiVersion"].string ?? ""), expected: \(resource.apiVersion)")
        }
        guard (body["metadata"]["managedFields"].array ?? []).isEmpty else {
            throw Refusal.badRequest("metadata.managedFields must be nil")
        }
        guard body["metadata"]["name"].string ?? name == name else {
            throw Refusal.badRequest("the name of the object does not match the name on the URL (\(name))")
        }
        let given = body["metadata"]["namespace"].string ?? namespace
        guard given == namespace else {
            throw Refusal.badRequest(
                "the namespace of the provided object does not match the namespace sent on the request")
        }
        var wanted = EventConversion.stored(body, resource)
        wanted["metadata"]["name"] = .string(name)
        if resource.isNamespaced { wanted["metadata"]["namespace"] = .string(namespace) }
        let schema = Schema.stored(resource)
        let fields = FieldTree(Self.owned(wanted, resource, subresource, schema))
        let time = Timestamps.text(clock.now)
        func entry() -> ManagedFields.Entry {
            ManagedFields.Entry(
                manager: options.manager, isApply: true, subresource: subresource, fields: fields, time: .string(time),
                apiVersion: .string(resource.apiVersion))
        }
        if storage.read({ $0.object(resource, namespace, name) }) == nil {
            guard subresource.isEmpty, wanted["metadata"]["uid"] == .null else {
                throw Refusal.notFound(resource, name)
            }
            if resource.subresources.contains("status") { wanted["status"] = nil }
            var unmanaged = options
            unmanaged.manager = ""
            unmanaged.isDryRun = true
            let tried = try create(resource, namespace, wanted, unmanaged)
            if options.isDryRun { return (tried, true) }
            unmanaged.isDryRun = false
            unmanaged.entry = ManagedFields.json([entry()])
            return (try create(resource, namespace, wanted, unmanaged), true)
        }
        let stored = try modify(
            resource, namespace, name, subresource: subresource, options, tracksManager: false
        ) { [wanted] old in
            try Self.merge(wanted, over: old.json, entry(), schema: schema, isForced: options.isForced)
        }
        return (stored, false)
    }

    /// What an applied object claims: nothing of the status where it is not for the status, and only that where it is.
    private static func owned(
        _ wanted: JSON, _ resource: Resource, _ subresource: String, _ schema: Schema
    ) -> [FieldTree.Path] {
        Fields.leaves(of: wanted, schema).filter { path in
            guard resource.subresources.contains("status") else { return true }
            return subresource == "status" ? path.first != "f:spec" : path.first != "f:status"
        }
    }

    private static func merge(
        _ wanted: JSON, over old: JSON, _ entry: ManagedFields.Entry, schema: Schema, isForced: Bool
    ) throws -> JSON {
        var entries = ManagedFields.entries(of: old)
        let own = entries.firstIndex {
            $0.isOf(entry.manager, isApply: true, subresource: entry.subresource)
        }
        let before = own.map { entries.remove(at: $0) }
        var conflicts: [(manager: String, field: String)] = []
        for path in entry.fields.paths where path.last?.hasPrefix("f:") == true {
            let value = Fields.value(at: path, in: wanted, schema)
            for index in entries.indices where entries[index].fields.contains(path) {
                guard Fields.value(at: path, in: old, schema) != value else { continue }
                if isForced {
                    entries[index].fields.remove(path)
                } else {
                    let other = entries[index]
                    var manager = "\"\(other.manager)\""
                    if !other.subresource.isEmpty { manager += " with subresource \"\(other.subresource)\"" }
                    manager += " using \(other.apiVersion.string ?? "")"
                    conflicts.append((manager, Fields.text(path)))
                }
            }
        }
        guard conflicts.isEmpty else { throw Refusal.applyConflict(conflicts) }
        var new = merged(wanted, into: old, schema)
        new["metadata"]["resourceVersion"] = wanted["metadata"]["resourceVersion"]
        let abandoned = (before?.fields.paths ?? []).filter { path in
            !entry.fields.reaches(path) && !entries.contains { $0.fields.reaches(path) }
        }
        for path in abandoned { Fields.remove(path[...], from: &new, schema) }
        var current = entry
        if before?.fields == entry.fields { current.time = before?.time ?? entry.time }
        entries.append(current)
        new["metadata"]["managedFields"] = ManagedFields.json(entries)
        return new
    }

    /// The wanted fields over those that are there; lists by their keys.
    private static func merged(_ wanted: JSON, into old: JSON, _ schema: Schema) -> JSON {
        switch (wanted, old) {
        case (.object(let members), .object(let before)):
            var result = before
            for (name, value) in members {
                result[name] = merged(value, into: before[name] ?? .null, schema.member(name) ?? .any)
            }
            return .object(result)
        case (.array(let elements), .array(let before)):
            guard case .list(let element, let merge) = schema else { return wanted }
            switch merge {
            case .atomic, .patchKeyed: return wanted
            case .set: return .array(before + elements.filter { !before.contains($0) })
            case .keyed:
                var result = before
                for inner in elements {
                    let key = Fields.identity(inner, merge)
                    if let index = result.firstIndex(where: { Fields.identity($0, merge) == key }) {
                        result[index] = merged(inner, into: result[index], element)
                    } else {
                        result.append(inner)
                    }
                }
                return .array(result)
            }
        default: return wanted
        }
    }
}
