import NIOCore

extension KubernetesClient {
    public func get<Object: KubernetesObject>(
        _ kind: Object.Type, name: String, namespace: String? = nil
    ) async throws -> Object {
        try await object(.init(method: .GET, path: kind.resource.path(namespace: namespace, name: name)))
    }

    /// All of a selection, page by page. Where the server has forgotten the moment of the first page in between, all is asked for again.
    /// `trim` is done to each object while it is read: what it takes away is never held.
    public func list<Object: KubernetesObject>(
        _ kind: Object.Type, _ selection: Selection = .all, trim: (inout Object) -> Void = { _ in }
    ) async throws -> ObjectList<Object> {
        var expiries = 0
        while true {
            do {
                return try await listOnce(kind, selection, trim: trim)
            } catch let error as KubernetesError where error.reason == .expired && expiries < Self.listExpiriesMax {
                expiries += 1
            }
        }
    }

    private static let listExpiriesMax = 3

    private func listOnce<Object: KubernetesObject>(
        _ kind: Object.Type, _ selection: Selection, trim: (inout Object) -> Void
    ) async throws -> ObjectList<Object> {
        var list = ObjectList<Object>(items: [], resourceVersion: "")
        var next: String?
        repeat {
            var query = selection.query + [("limit", String(limits.pageItems))]
            if let next { query.append(("continue", next)) }
            let body = try await send(
                .init(method: .GET, path: kind.resource.path(namespace: selection.namespace), query: query))
            let page = try Self.decoded(body) { try ListPage<Object>(from: &$0, trim: trim) }
            list.items += page.items
            // The pages are all of one moment.
            list.resourceVersion = page.resourceVersion
            guard page.next == nil || page.next != next else {
                throw KubernetesError.unusable("a page of the list leads to itself")
            }
            next = page.next
        } while next != nil
        return list
    }

    public func create<Object: WritableObject>(_ object: Object) async throws -> Object {
        try await self.object(
            .init(
                method: .POST, path: Object.resource.path(namespace: object.requestNamespace), body: object.json))
    }

    /// Replaces the object; a conflict where it is not of the resource version that `object` has.
    public func update<Object: WritableObject>(_ object: Object) async throws -> Object {
        try await self.object(
            .init(
                method: .PUT, path: Object.resource.path(namespace: object.requestNamespace, name: object.name),
                body: object.json))
    }

    /// `subresource` is `status` where the change is to the status of a kind that keeps it apart.
    @discardableResult
    public func patch<Object: KubernetesObject>(
        _ kind: Object.Type, name: String, namespace: String? = nil, subresource: String? = nil, _ patch: Patch
    ) async throws -> Object {
        try await object(
            .init(
                method: .PATCH,
                path: kind.resource.path(namespace: namespace, name: name, subresource: subresource),
                query: patch.query, body: patch.body, contentType: patch.contentType))
    }

    /// With `uid`, only the object that has it: not a later one of the same name.
    public func delete<Object: KubernetesObject>(
        _ kind: Object.Type, name: String, namespace: String? = nil, uid: String? = nil
    ) async throws {
        let options: JSONValue? = uid.map {
            ["apiVersion": "v1", "kind": "DeleteOptions", "preconditions": ["uid": .string($0)]]
        }
        _ = try await send(
            .init(method: .DELETE, path: kind.resource.path(namespace: namespace, name: name), body: options))
    }

    /// Whose a token is, and for whom it is meant.
    public func review(token: String, audiences: [String]) async throws -> TokenReviewStatus {
        let body = try await send(
            .init(
                method: .POST, path: TokenReview.resource.path(),
                body: TokenReview(token: token, audiences: audiences).json))
        return try Self.decoded(body) { try TokenReview(checking: &$0, named: false) }.status
    }

    /// Whether we may do so, in all namespaces. Everybody who has authenticated may ask.
    public func may(_ right: AccessRight) async throws -> Bool {
        let body = try await send(
            .init(
                method: .POST, path: SelfSubjectAccessReview.resource.path(), body: SelfSubjectAccessReview(right).json)
        )
        return try Self.decoded(body) { try SelfSubjectAccessReview(checking: &$0, named: false) }.isAllowed
    }

    /// The server's version (`gitVersion`): a request that needs no rights.
    public func serverVersion() async throws -> String {
        let body = try await send(.init(method: .GET, path: "/version"))
        return try Self.decoded(body) { reader in
            var version = ""
            guard try reader.beginObject() else { return "" }
            while let key = try reader.key() {
                if key == "gitVersion" { version = try reader.string() ?? "" } else { try reader.skip() }
            }
            return version
        }
    }

    private func object<Object: KubernetesObject>(_ request: Request) async throws -> Object {
        let body = try await send(request)
        return try Self.decoded(body) { try Object(checking: &$0) }
    }

    static func decoded<Value>(_ body: ByteBuffer, _ read: (inout JSONReader) throws -> Value) throws -> Value {
        do {
            return try body.withUnsafeReadableBytes { try JSONReader.read($0, read) }
        } catch { throw KubernetesError.unusable("\(error)") }
    }
}

extension KubernetesObject {
    fileprivate var requestNamespace: String? { namespace.isEmpty ? nil : namespace }
}
