internal import Synchronization

/// What tests do in the cluster without going through HTTP; the rules are the same.
extension APIServer {
    /// Makes an object, with its status; its kind is the resource's. Returns it as it was stored.
    @discardableResult
    public func create(_ resource: Resource, _ object: JSON) throws -> JSON {
        let namespace = resource.isNamespaced ? object["metadata"]["namespace"].string ?? "default" : ""
        return try registry.create(resource, namespace, object, WriteOptions(manager: "", keepsStatus: true)).json
    }

    /// Makes what a YAML text with several documents says, as `kubectl apply` would.
    public func create(yaml text: String) throws {
        for document in try YAMLDocuments.read(text) {
            let group = document["apiVersion"].string ?? ""
            guard
                let resource = Resource.stored.first(where: {
                    $0.apiVersion == group && $0.kind == document["kind"].string
                })
            else { throw Refusal.badRequest("no matches for kind \(document["kind"].text) in version \(group)") }
            try create(resource, document)
        }
    }

    public func get(_ resource: Resource, _ namespace: String, _ name: String) -> JSON? {
        registry.storage.read { $0.object(resource, namespace, name)?.json }
    }

    public func list(_ resource: Resource, namespace: String = "") -> [JSON] {
        registry.storage.read { state in
            state[resource].keys(in: namespace).compactMap { state[resource][$0]?.json }
        }
    }

    /// Changes an object in place.
    @discardableResult
    public func update(
        _ resource: Resource, _ namespace: String, _ name: String, subresource: String = "",
        _ change: (inout JSON) -> Void
    ) throws -> JSON {
        try registry.modify(
            resource, namespace, name, subresource: subresource, WriteOptions(manager: "test")
        ) { old in
            var json = old.json
            change(&json)
            return json
        }.json
    }

    /// Asks for an object's deletion, as `kubectl delete` does.
    public func delete(_ resource: Resource, _ namespace: String, _ name: String, gracePeriodSeconds: Int? = nil)
        throws
    {
        _ = try registry.delete(
            resource, namespace, name, DeleteOptions(gracePeriodSeconds: gracePeriodSeconds))
    }

    /// The kubelet's word that a pod's containers have ended: it leaves the cluster.
    public func confirmPodDeletion(_ namespace: String, _ name: String) throws {
        try delete(.pods, namespace, name, gracePeriodSeconds: 0)
    }

    /// Waits until an object satisfies a condition (nil: it is not there), woken by changes only.
    ///
    /// - Returns: false when the time is up first.
    public func wait(
        for resource: Resource, _ namespace: String, _ name: String, atMost: Duration = .seconds(30),
        until condition: @Sendable @escaping (JSON?) -> Bool
    ) async -> Bool {
        await wait(atMost: atMost) { $0.get(resource, namespace, name).map { condition($0) } ?? condition(nil) }
    }

    /// Waits until something is true of the cluster; looked at after every change, request, and watch that begins or ends.
    public func wait(
        atMost: Duration = .seconds(30), until condition: @Sendable @escaping (APIServer) -> Bool
    ) async -> Bool {
        let (id, signals, _) = registry.storage.signals(isWait: true)
        let storage = registry.storage
        defer { storage.forget(id) }
        let timer = Task {
            try await Task.sleep(for: atMost)
            storage.forget(id)
        }
        defer { timer.cancel() }
        for await _ in signals where condition(self) { return true }
        return condition(self)
    }

    // MARK: Switches

    /// Ends every watch, as a server that is shut down in order does.
    public func endWatches() { nudge { $0.ended += 1 } }

    /// Closes the connection of every watch in the middle of an event.
    public func cutWatches() { nudge { $0.cut += 1 } }

    /// Sends a bookmark to every watch that allows them.
    public func sendBookmarks() { nudge { $0.bookmarked += 1 } }

    /// Forgets every change so far: who has not read them, and who begins before now, is told that it is too late (410).
    public func compact() {
        registry.storage.write { state in
            for storage in state.collections.keys { state.collections[storage]?.compact(through: state.revision) }
            state.nudge()
        }
    }

    /// Changes an object and forgets the change before anybody can have read it: every watch of its kind has fallen behind.
    public func changeAndCompact(_ resource: Resource, _ namespace: String, _ name: String) {
        registry.storage.write { state in
            guard var json = state.object(resource, namespace, name)?.json else { return }
            json["metadata"]["annotations"]["stand-in/changed"] = .string(String(state.revision))
            state.put(resource, json)
            state.collections[resource.storage]?.compact(through: state.revision)
        }
    }

    private func nudge(_ change: (inout WatchNudges) -> Void) {
        registry.storage.write { state in
            change(&state.nudges)
            state.nudge()
        }
    }

    public var watchCount: Int { registry.storage.watchCount }
    public var resourceVersion: Int { registry.storage.read(\.revision) }

    public func setKubelet(_ mode: KubeletMode) { registry.kubelet.withLock { $0 = mode } }

    // MARK: Records

    /// Requests since the start, or since they were last cleared.
    public var requests: [RequestRecord] { log.all }
    public func clearRequests() { log.clear() }

    /// Which rules of which roles have let requests through.
    public var usedRules: Set<RuleUse> { handler.authorizer.used }

    /// What a cluster role gives that no request has needed so far.
    public func unusedGrants(ofClusterRole name: String) -> Set<RuleUse> {
        let role = "ClusterRole/" + name
        let rules = get(.clusterRoles, "", name)?["rules"].array ?? []
        return Authorizer.grants(of: role, rules: rules).subtracting(usedRules)
    }

    // MARK: Users

    /// A bearer token that stands for a user.
    public func addToken(_ token: String, for user: User) { handler.authenticator.add(token: token, for: user) }

    /// A token of a service account, as TokenRequest gives it.
    public func token(
        _ namespace: String, serviceAccount: String, audiences: [String] = [], seconds: Int = 3600, pod: String? = nil
    ) throws -> String {
        let request: JSON = [
            "spec": [
                "audiences": JSON(audiences), "expirationSeconds": .integer(seconds),
                "boundObjectRef": pod.map { ["kind": "Pod", "apiVersion": "v1", "name": .string($0)] } ?? .null,
            ]
        ]
        return try handler.tokens.issue(request, namespace: namespace, account: serviceAccount)["status"]["token"]
            .string ?? ""
    }
}
