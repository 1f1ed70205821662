internal import FoundationEssentials
internal import Synchronization

/// Who asks, and how the request wants to be carried out.
struct WriteOptions: Sendable {
    var manager = "unknown"
    var isDryRun = false
    var fieldValidation = FieldValidation.ignore
    var isForced = false
    /// What a new object's `managedFields` begin with (server-side apply).
    var entry = JSON.null
    /// For objects that a test puts there as they have become; whoever comes by HTTP writes the status by itself.
    var keepsStatus = false

    enum FieldValidation: String, Sendable { case ignore = "Ignore", warn = "Warn", strict = "Strict" }
}

/// The verbs on stored objects, with the rules of the real server's registry: what is filled in, what is refused, what is ignored.
final class Registry: Sendable {
    let storage: Storage
    let clock: Clock
    /// When pods that are deleted go: once a test plays the kubelet, or at once.
    let kubelet: Mutex<KubeletMode>

    init(historyMax: Int, clock: Clock, kubelet: KubeletMode) {
        storage = Storage(historyMax: historyMax)
        self.clock = clock
        self.kubelet = Mutex(kubelet)
    }

    func get(_ resource: Resource, _ namespace: String, _ name: String) throws -> StoredObject {
        guard let object = storage.read({ $0.object(resource, namespace, name) }) else {
            throw Refusal.notFound(resource, name)
        }
        return object
    }

    // MARK: Create

    func create(
        _ resource: Resource, _ namespace: String, _ body: JSON, _ options: WriteOptions
    ) throws -> StoredObject {
        var object = body
        try adopt(&object, resource, namespace)
        guard object["metadata"]["resourceVersion"].string ?? "" == "" else {
            throw Refusal(
                code: 500, reason: "", message: "resourceVersion should not be set on objects to be created")
        }
        let generated = object["metadata"]["name"] == .null || object["metadata"]["name"] == ""
        if generated, let prefix = object["metadata"]["generateName"].string, !prefix.isEmpty {
            object["metadata"]["name"] = .string(Self.generatedName(prefix))
        }
        object["metadata"]["uid"] = .string(Self.uid())
        object["metadata"]["creationTimestamp"] = .string(Timestamps.text(clock.now))
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"] {
            object["metadata"][field] = nil
        }
        let time = Timestamps.text(clock.now)
        if resource.subresources.contains("status"), resource != .nodes, !options.keepsStatus { object["status"] = nil }
        return try storage.write { [object] state in
            var object = object
            try Admission.admit(&object, resource, namespace, state)
            Defaults.apply(to: &object, resource, state)
            let name = object["metadata"]["name"].string ?? ""
            let flaws = Validation.flaws(of: object, resource)
            guard flaws.isEmpty else { throw Refusal.invalid(resource, name, flaws) }
            guard state.object(resource, namespace, name) == nil else {
                throw Refusal.alreadyExists(resource, name)
            }
            ManagedFields.track(
                from: nil, to: &object, resource, manager: options.manager, subresource: "", time: time)
            if options.entry != .null { object["metadata"]["managedFields"] = options.entry }
            if options.isDryRun { return StoredObject(object, resourceVersion: nil) }
            let stored = state.put(resource, object)
            if resource == .namespaces { Defaults.populate(namespace: name, clock: self.clock, &state) }
            return stored
        }
    }

    // MARK: Update

    func update(
        _ resource: Resource, _ namespace: String, _ name: String, subresource: String, _ body: JSON,
        _ options: WriteOptions
    ) throws -> StoredObject {
        var object = body
        try adopt(&object, resource, namespace)
        let given = object["metadata"]["name"].string ?? ""
        guard given == name else {
            throw Refusal.badRequest(
                given.isEmpty
                    ? "name must be provided"
                    : "the name of the object (\(given)) does not match the name on the URL (\(name))")
        }
        return try modify(resource, namespace, name, subresource: subresource, options) { [object] _ in object }
    }

    /// One read, change and write that nothing comes between.
    func modify(
        _ resource: Resource, _ namespace: String, _ name: String, subresource: String, _ options: WriteOptions,
        tracksManager: Bool = true, _ change: (StoredObject) throws -> JSON
    ) throws -> StoredObject {
        let time = Timestamps.text(clock.now)
        return try storage.write { state in
            guard let old = state.object(resource, namespace, name) else { throw Refusal.notFound(resource, name) }
            var new = try change(old)
            try Self.settle(&new, over: old, resource, subresource: subresource)
            Defaults.apply(to: &new, resource, state)
            let flaws =
                Validation.flaws(of: new, resource, subresource: subresource)
                + Validation.flaws(from: old.json, to: new, resource, subresource: subresource)
            guard flaws.isEmpty else { throw Refusal.invalid(resource, name, flaws) }
            var bare = new
            bare["metadata"]["managedFields"] = old.metadata["managedFields"]
            bare["metadata"]["resourceVersion"] = old.metadata["resourceVersion"]
            let isSame = bare == old.json
            if tracksManager {
                if isSame { return old }
                ManagedFields.track(
                    from: old.json, to: &new, resource, manager: options.manager, subresource: subresource, time: time)
            } else if isSame, new["metadata"]["managedFields"] == old.metadata["managedFields"] {
                return old
            }
            if options.isDryRun { return StoredObject(new, resourceVersion: old.resourceVersion) }
            if new["metadata"]["deletionTimestamp"] != .null, Self.isReleased(new, resource) {
                state.remove(resource, old)
                Deletion.finishNamespace(namespace, &state)
                return StoredObject(new, resourceVersion: state.revision)
            }
            return state.put(resource, new)
        }
    }

    /// What an update may not change is put back or refused; the status is changed through its own path only.
    private static func settle(
        _ new: inout JSON, over old: StoredObject, _ resource: Resource, subresource: String
    ) throws {
        let metadata = new["metadata"]
        if let version = metadata["resourceVersion"].string, !version.isEmpty, version != "0",
            version != String(old.resourceVersion)
        {
            throw Refusal.conflict(resource, old.name)
        }
        if let uid = metadata["uid"].string, !uid.isEmpty, uid != old.uid {
            throw Refusal.conflict(
                resource, old.name, "Precondition failed: UID in precondition: \(uid), UID in object meta: \(old.uid)")
        }
        new["metadata"]["uid"] = .string(old.uid)
        new["metadata"]["resourceVersion"] = old.metadata["resourceVersion"]
        for field in [
            "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName",
        ] where metadata[field] == .null || ["generation", "generateName"].contains(field) {
            new["metadata"][field] = old.metadata[field]
        }
        new["metadata"]["selfLink"] = nil
        if metadata["managedFields"] == .null { new["metadata"]["managedFields"] = old.metadata["managedFields"] }
        if subresource == "status" {
            let status = new["status"]
            for member in Set(new.keys).union(old.json.keys) where member != "metadata" {
                new[member] = old.json[member]
            }
            new["status"] = status
            new["metadata"]["finalizers"] = old.metadata["finalizers"]
            new["metadata"]["ownerReferences"] = old.metadata["ownerReferences"]
        } else if resource.subresources.contains("status") {
            new["status"] = old.json["status"]
        }
        if new["spec"] != old.json["spec"], let generation = old.metadata["generation"].integer {
            new["metadata"]["generation"] = .integer(generation + 1)
        }
    }

    private static func isReleased(_ object: JSON, _ resource: Resource) -> Bool {
        let hasFinalizers = !(object["metadata"]["finalizers"].array ?? []).isEmpty
        return !hasFinalizers && object["metadata"]["deletionGracePeriodSeconds"].integer ?? 0 == 0
            && !(resource == .namespaces && !(object["spec"]["finalizers"].array ?? []).isEmpty)
    }

    // MARK: Common

    /// Checks what an object says of its own kind and place against the path, and completes it.
    private func adopt(_ object: inout JSON, _ resource: Resource, _ namespace: String) throws {
        guard case .object = object else {
            throw Refusal.badRequest("the object provided is unrecognized: not a JSON object")
        }
        for (field, expected) in [("kind", resource.kind), ("apiVersion", resource.apiVersion)] {
            let given = object[field].string ?? ""
            guard given == expected || given.isEmpty else {
                throw Refusal.badRequest(
                    field == "kind"
                        ? "\(given) in version \"\(resource.version)\" cannot be handled as a \(resource.kind)"
                        : "the API version in the data (\(given)) does not match the expected API version (\(expected))"
                )
            }
        }
        object = EventConversion.stored(object, resource)
        if resource.isNamespaced {
            let given = object["metadata"]["namespace"].string ?? ""
            guard given.isEmpty || given == namespace else {
                throw Refusal.badRequest(
                    "the namespace of the provided object does not match the namespace sent on the request")
            }
            object["metadata"]["namespace"] = .string(namespace)
        } else if object["metadata"]["namespace"].string ?? "" != "" {
            throw Refusal.badRequest("namespace is not allowed on this type")
        }
    }

    static func uid() -> String { UUID().uuidString.lowercased() }

    /// Five characters, without vowels and look-alikes, as the real server's.
    static func generatedName(_ prefix: String) -> String {
        let alphabet = Array("bcdfghjklmnpqrstvwxz2456789")
        return prefix.prefix(58) + String((0..<5).map { _ in alphabet[Int.random(in: alphabet.indices)] })
    }
}
