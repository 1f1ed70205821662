/// What a delete request asks for, from its body or its query.
struct DeleteOptions: Sendable {
    var gracePeriodSeconds: Int?
    var uid: String?
    var resourceVersion: String?
    var isDryRun = false
}

/// What is left after a delete request.
enum DeleteOutcome: Sendable {
    /// It is gone; some kinds answer with the object, others with a `Status`.
    case removed(StoredObject)
    /// It stays until its finalizers, its grace period or its contents are done.
    case marked(StoredObject)
}

enum Deletion {
    /// Answered with the object itself, as their strategies say.
    static let returningObject: Set<String> = ["pods", "services", "serviceaccounts"]

    /// A namespace that is going away goes when the last of its objects has gone.
    static func finishNamespace(_ name: String, _ state: inout Storage.State) {
        guard !name.isEmpty, let namespace = state.object(.namespaces, "", name),
            namespace.metadata["deletionTimestamp"] != .null
        else { return }
        let isEmpty = Resource.stored.allSatisfy { !$0.isNamespaced || state[$0].keys(in: name).isEmpty }
        guard isEmpty else { return }
        var json = namespace.json
        json["spec"]["finalizers"] = nil
        json["spec"] = json["spec"] == .null ? .object([:]) : json["spec"]
        let last = state.put(.namespaces, json)
        if (json["metadata"]["finalizers"].array ?? []).isEmpty { state.remove(.namespaces, last) }
    }
}

extension Registry {
    func delete(_ resource: Resource, _ namespace: String, _ name: String, _ options: DeleteOptions) throws
        -> DeleteOutcome
    {
        let mode = kubelet.withLock { $0 }
        let now = clock.now
        return try storage.write { state in
            guard let object = state.object(resource, namespace, name) else { throw Refusal.notFound(resource, name) }
            if let uid = options.uid, uid != object.uid {
                throw Refusal.conflict(
                    resource, name,
                    "Precondition failed: UID in precondition: \(uid), UID in object meta: \(object.uid)")
            }
            if let version = options.resourceVersion, version != String(object.resourceVersion) {
                throw Refusal.conflict(
                    resource, name,
                    "Precondition failed: ResourceVersion in precondition: \(version), ResourceVersion in "
                        + "object meta: \(object.resourceVersion)")
            }
            if options.isDryRun { return .removed(object) }
            if resource == .namespaces { return self.terminate(object, now: Timestamps.text(now), mode, &state) }
            return Self.delete(
                resource, object, grace: Self.grace(of: object, resource, options, mode),
                now: now.timeIntervalSince1970,
                &state)
        }
    }

    /// Every object of a list, as `deletecollection` does.
    func deleteCollection(_ resource: Resource, _ objects: [StoredObject], _ options: DeleteOptions) throws {
        for object in objects {
            do {
                _ = try delete(resource, object.namespace, object.name, options)
            } catch let refusal as Refusal where refusal.code == 404 {
                continue  // Somebody else was faster.
            }
        }
    }

    /// Seconds until it may go; what runs nowhere goes at once.
    private static func grace(
        of object: StoredObject, _ resource: Resource, _ options: DeleteOptions, _ mode: KubeletMode
    ) -> Int {
        guard resource == .pods, mode == .confirmed else { return 0 }
        let spec = object.json["spec"]
        let hasEnded = ["Succeeded", "Failed"].contains(object.json["status"]["phase"].string)
        guard spec["nodeName"].string ?? "" != "", !hasEnded else { return 0 }
        return max(0, options.gracePeriodSeconds ?? spec["terminationGracePeriodSeconds"].integer ?? 30)
    }

    private static func delete(
        _ resource: Resource, _ object: StoredObject, grace: Int, now: Double, _ state: inout Storage.State
    ) -> DeleteOutcome {
        let hasFinalizers = !(object.metadata["finalizers"].array ?? []).isEmpty
        guard grace > 0 || hasFinalizers else {
            state.remove(resource, object)
            Deletion.finishNamespace(object.namespace, &state)
            return .removed(object)
        }
        let isMarked = object.metadata["deletionTimestamp"] != .null
        // A second request can only shorten the grace period.
        if isMarked, grace >= object.metadata["deletionGracePeriodSeconds"].integer ?? 0 { return .marked(object) }
        var json = object.json
        json["metadata"]["deletionTimestamp"] = .string(Timestamps.text(seconds: now + Double(grace)))
        json["metadata"]["deletionGracePeriodSeconds"] = .integer(grace)
        if let generation = json["metadata"]["generation"].integer {
            json["metadata"]["generation"] = .integer(generation + 1)
        }
        return .marked(state.put(resource, json))
    }

    private func terminate(
        _ namespace: StoredObject, now: String, _ mode: KubeletMode, _ state: inout Storage.State
    ) -> DeleteOutcome {
        var marked = namespace
        if namespace.metadata["deletionTimestamp"] == .null {
            var json = namespace.json
            json["metadata"]["deletionTimestamp"] = .string(now)
            json["status"]["phase"] = "Terminating"
            marked = state.put(.namespaces, json)
        }
        for resource in Resource.stored where resource.isNamespaced && resource != .events {
            for key in state[resource].keys(in: namespace.name) {
                guard let object = state[resource][key] else { continue }
                _ = Self.delete(
                    resource, object, grace: Self.grace(of: object, resource, DeleteOptions(), mode),
                    now: clock.now.timeIntervalSince1970, &state)
            }
        }
        Deletion.finishNamespace(namespace.name, &state)
        return .marked(marked)
    }
}
