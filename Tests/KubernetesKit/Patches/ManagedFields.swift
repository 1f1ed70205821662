/// Who wrote which fields: one entry for each manager, operation and subresource.
enum ManagedFields {
    struct Entry {
        let manager: String
        let isApply: Bool
        let subresource: String
        var fields: FieldTree
        var time: JSON
        let apiVersion: JSON

        func isOf(_ manager: String, isApply: Bool, subresource: String) -> Bool {
            self.manager == manager && self.isApply == isApply && self.subresource == subresource
        }
    }

    static func entries(of object: JSON) -> [Entry] {
        (object["metadata"]["managedFields"].array ?? []).map { entry in
            Entry(
                manager: entry["manager"].string ?? "", isApply: entry["operation"] == "Apply",
                subresource: entry["subresource"].string ?? "", fields: FieldTree(entry["fieldsV1"]),
                time: entry["time"], apiVersion: entry["apiVersion"])
        }
    }

    static func json(_ entries: [Entry]) -> JSON {
        let kept = entries.filter { !$0.fields.isEmpty }
        return kept.isEmpty
            ? .null
            : .array(
                kept.map { entry in
                    [
                        "manager": .string(entry.manager), "operation": entry.isApply ? "Apply" : "Update",
                        "apiVersion": entry.apiVersion, "time": entry.time, "fieldsType": "FieldsV1",
                        "fieldsV1": entry.fields.json,
                        "subresource": entry.subresource.isEmpty ? nil : .string(entry.subresource),
                    ]
                })
    }

    /// After a create, an update or a patch: what is changed becomes the manager's and nobody else's.
    ///
    /// A manager without a name is not recorded: the cluster's own controllers, and load that tests make.
    static func track(
        from old: JSON?, to new: inout JSON, _ resource: Resource, manager: String, subresource: String, time: String
    ) {
        guard !manager.isEmpty else { return }
        // A client may give up all ownership at once.
        if let given = new["metadata"]["managedFields"].array, given == [] || given == [.object([:])] {
            new["metadata"]["managedFields"] = nil
        }
        let schema = Schema.stored(resource)
        let difference = Fields.difference(from: old ?? .object([:]), to: new, schema)
        guard !difference.changed.isEmpty || !difference.removed.isEmpty else { return }
        var entries = entries(of: new)
        for index in entries.indices {
            for path in difference.changed + difference.removed { entries[index].fields.remove(path) }
        }
        let own = entries.firstIndex { $0.isOf(manager, isApply: false, subresource: subresource) }
        var entry =
            own.map { entries[$0] }
            ?? Entry(
                manager: manager, isApply: false, subresource: subresource, fields: FieldTree(), time: .string(time),
                apiVersion: .string(resource.apiVersion))
        for path in difference.changed { entry.fields.insert(path) }
        entry.time = .string(time)
        if let own { entries[own] = entry } else { entries.append(entry) }
        new["metadata"]["managedFields"] = json(entries)
    }
}
