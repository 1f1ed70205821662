/// What a list or a watch is asked to show.
struct Selection: Sendable {
    let namespace: String
    let labels: LabelSelector?
    let fields: FieldSelector?

    init(_ info: RequestInfo, _ resource: Resource) throws {
        namespace = resource.isNamespaced ? info.namespace : ""
        labels = try info.query["labelSelector"].flatMap { $0.isEmpty ? nil : try LabelSelector($0) }
        fields = try info.query["fieldSelector"].flatMap { $0.isEmpty ? nil : try FieldSelector($0, for: resource) }
    }

    func includes(_ object: StoredObject) -> Bool {
        (namespace.isEmpty || object.namespace == namespace)
            && (labels?.matches(object.metadata["labels"].object ?? [:]) ?? true)
            && (fields?.matches(object.json) ?? true)
    }
}

/// Lists: which version they show, and page by page.
enum Listing {
    struct Page: Sendable {
        let objects: [StoredObject]
        let metadata: JSON
    }

    static func page(_ resource: Resource, _ info: RequestInfo, _ storage: Storage) throws -> Page {
        let selection = try Selection(info, resource)
        let limit = info.query["limit"].flatMap(Int.init) ?? 0
        let asked = try version(info)
        if let token = info.query["continue"], !token.isEmpty {
            guard asked == nil || asked == 0 else {
                throw Refusal.badRequest("specifying resource version is not allowed when using continue")
            }
            return try more(resource, selection, token: token, limit: limit, storage)
        }
        return try storage.read { state in
            let match = info.query["resourceVersionMatch"]
            guard let asked, asked > 0 else {
                return page(of: state[resource], at: state.revision, from: "", selection, limit)
            }
            guard asked <= state.revision else {
                throw Refusal.tooLargeResourceVersion(asked, current: state.revision)
            }
            // Without a match, a limited list is of exactly that version, others of one not older.
            guard match == "Exact" || (match == nil && limit > 0) else {
                return page(of: state[resource], at: state.revision, from: "", selection, limit)
            }
            guard let past = state[resource].snapshot(at: asked) else {
                throw Refusal.expired("The resourceVersion for the provided list is too old.")
            }
            return page(of: past, at: asked, from: "", selection, limit)
        }
    }

    private static func more(
        _ resource: Resource, _ selection: Selection, token: String, limit: Int, _ storage: Storage
    ) throws -> Page {
        guard let bytes = Base64.bytes(url: token), let json = try? JSON(parsing: bytes),
            let version = json["rv"].integer,
            let start = json["start"].string, json["v"] == "meta.k8s.io/v1"
        else { throw Refusal.badRequest("continue key is not valid") }
        return try storage.read { state in
            // An inconsistent continuation goes on in the present.
            if version < 0 { return page(of: state[resource], at: state.revision, from: start, selection, limit) }
            guard let past = state[resource].snapshot(at: version) else {
                var refusal = Refusal.expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
                        + "without the continue parameter, or use the continue token in this response to retrieve the "
                        + "remainder of the results. Continuing with the provided token results in an inconsistent list - "
                        + "objects that were created, modified, or deleted between the time the first chunk was returned and "
                        + "now may show up in the list.")
                refusal.continuation = Self.token(version: -1, start: start)
                throw refusal
            }
            return page(of: past, at: version, from: start, selection, limit)
        }
    }

    private static func page(
        of collection: ObjectCollection, at version: Int, from start: String, _ selection: Selection, _ limit: Int
    ) -> Page {
        let keys = collection.keys(in: selection.namespace)
        var objects: [StoredObject] = []
        var metadata: JSON = ["resourceVersion": .string(String(version))]
        let first = max(
            keys.startIndex, min(keys.endIndex, start.isEmpty ? keys.startIndex : collection.index(of: start)))
        for index in first..<keys.endIndex {
            guard let object = collection[keys[index]], selection.includes(object) else { continue }
            if limit > 0, objects.count == limit {
                metadata["continue"] = .string(token(version: version, start: keys[index]))
                // With a selector it would cost as much as the rest of the list.
                if selection.labels == nil, selection.fields == nil {
                    metadata["remainingItemCount"] = .integer(keys.endIndex - index)
                }
                break
            }
            objects.append(object)
        }
        return Page(objects: objects, metadata: metadata)
    }

    private static func token(version: Int, start: String) -> String {
        let token: JSON = ["v": "meta.k8s.io/v1", "rv": .integer(version), "start": .string(start)]
        return Base64.url(token.bytes)
    }

    /// Nil where none was given; "0" means any.
    static func version(_ info: RequestInfo) throws -> Int? {
        let options = Resource("", "ListOptions", group: "meta.k8s.io")
        let match = info.query["resourceVersionMatch"] ?? ""
        let text = info.query["resourceVersion"] ?? ""
        if !match.isEmpty, info.query["sendInitialEvents"] == nil {
            guard !info.flag("watch") else {
                throw Refusal.invalid(
                    options, "",
                    [
                        .forbidden(
                            "resourceVersionMatch",
                            "resourceVersionMatch is forbidden for watch unless "
                                + "sendInitialEvents is provided")
                    ])
            }
            guard !text.isEmpty else {
                throw Refusal.invalid(
                    options, "",
                    [
                        .forbidden(
                            "resourceVersionMatch",
                            "resourceVersionMatch is forbidden unless resourceVersion is provided")
                    ])
            }
            guard ["Exact", "NotOlderThan"].contains(match) else {
                throw Refusal.invalid(
                    options, "",
                    [.unsupported("resourceVersionMatch", .string(match), ["Exact", "NotOlderThan", ""])])
            }
            guard match != "Exact" || text != "0" else {
                throw Refusal.invalid(
                    options, "",
                    [
                        .forbidden(
                            "resourceVersionMatch",
                            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
                    ])
            }
        }
        if text.isEmpty { return nil }
        guard let version = Int(text), version >= 0 else {
            throw Refusal.badRequest(
                "invalid resource version \"\(text)\": strconv.ParseUint: parsing \"\(text)\": invalid syntax")
        }
        return version
    }
}
