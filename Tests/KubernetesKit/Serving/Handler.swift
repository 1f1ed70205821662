internal import FoundationEssentials
internal import HTTPTypes

/// Decides every request: routing, then the registry, then how the answer is shown. No sockets.
final class Handler: Sendable {
    let registry: Registry
    let authorizer: Authorizer
    let authenticator: Authenticator
    let tokens: ServiceAccountTokens

    init(registry: Registry, authorizer: Authorizer, authenticator: Authenticator, tokens: ServiceAccountTokens) {
        self.registry = registry
        self.authorizer = authorizer
        self.authenticator = authenticator
        self.tokens = tokens
    }

    /// Whom a request is made for (`kubectl --as`): only who may impersonate the user and each group may say somebody else.
    func impersonated(by user: User, name: String?, groups: [String]) throws -> User {
        guard let name else { return user }
        var wanted: [Attributes] = []
        let parts = name.split(separator: ":").map(String.init)
        if parts.count == 4, parts[0] == "system", parts[1] == "serviceaccount" {
            wanted.append(
                Attributes(verb: "impersonate", resource: "serviceaccounts", namespace: parts[2], name: parts[3]))
        } else {
            wanted.append(Attributes(verb: "impersonate", resource: "users", name: name))
        }
        wanted += groups.map { Attributes(verb: "impersonate", resource: "groups", name: $0) }
        for attributes in wanted {
            guard let why = authorizer.denial(user, attributes) else { continue }
            throw Refusal.forbidden(Resource(attributes.resource, ""), attributes.name, why)
        }
        let isAccount = parts.count == 4 && wanted[0].resource == "serviceaccounts"
        let own = isAccount ? ["system:serviceaccounts", "system:serviceaccounts:\(parts[2])"] : []
        return User(name: name, groups: (groups.isEmpty ? own : groups) + ["system:authenticated"])
    }

    /// - Parameter warn: takes what is to be sent as `Warning` headers.
    func answer(_ request: ReadRequest, warn: (String) -> Void) throws -> Answer {
        let info = request.info
        let attributes = info.attributes
        if let why = authorizer.denial(request.user, attributes) {
            guard info.isResource else { throw Refusal.forbiddenPath(info.path, why) }
            let named = Resource(info.resource, "", group: info.groupVersion?.group ?? "")
            throw Refusal.forbidden(named, info.name, why)
        }
        guard info.isResource, let (group, version) = info.groupVersion else { return try plain(request) }
        guard let resource = Resource.find(group: group, version: version, name: info.resource) else {
            throw Refusal.noSuchPath
        }
        guard resource.isNamespaced || info.namespace.isEmpty || resource == .namespaces else {
            throw Refusal.noSuchPath
        }
        if !info.subresource.isEmpty, !resource.subresources.contains(info.subresource) { throw Refusal.noSuchPath }
        if resource.isReview {
            guard info.verb == "create" else { throw Refusal.methodNotAllowed }
            return try review(resource, request)
        }
        return try stored(resource, request, warn: warn)
    }

    private func stored(_ resource: Resource, _ request: ReadRequest, warn: (String) -> Void) throws -> Answer {
        let info = request.info
        let namespace = resource.isNamespaced ? info.namespace : ""
        if resource.isNamespaced, namespace.isEmpty, !["list", "watch"].contains(info.verb) {
            throw Refusal.methodNotAllowed
        }
        switch (info.verb, info.subresource) {
        case ("get", let subresource):
            guard !["token", "binding", "eviction", "finalize"].contains(subresource) else {
                throw Refusal.methodNotAllowed
            }
            let representation = try Representation(accept: request.accept)
            return object(try registry.get(resource, namespace, info.name), resource, representation)
        case ("list", _):
            let representation = try Representation(accept: request.accept)
            let page = try Listing.page(resource, info, registry.storage)
            return .json(
                representation.bytes(
                    of: page.objects, resource, metadata: page.metadata, now: registry.clock.now.timeIntervalSince1970))
        case ("watch", _):
            let representation = try Representation(accept: request.accept)
            return .watch(
                try Watching(resource, info, representation, registry.storage, clock: registry.clock))
        case ("create", "token"):
            let body = try Decoding.object(request, Self.tokenRequest)
            return .json(try tokens.issue(body.value, namespace: namespace, account: info.name).bytes, code: 201)
        case ("create", "binding"): return try bind(request)
        case ("create", "eviction"): return try evict(request)
        case ("create", ""):
            guard info.name.isEmpty else { throw Refusal.methodNotAllowed }
            let body = try decoded(request, resource, warn: warn)
            let representation = try Representation(accept: request.accept)
            return object(
                try registry.create(resource, namespace, body, try options(request)), resource, representation,
                code: 201)
        case ("update", let subresource) where ["", "status", "finalize"].contains(subresource):
            guard !info.name.isEmpty else { throw Refusal.methodNotAllowed }
            let body = try decoded(request, resource, warn: warn)
            let representation = try Representation(accept: request.accept)
            return object(
                try registry.update(
                    resource, namespace, info.name, subresource: subresource, body, try options(request)),
                resource, representation)
        case ("patch", let subresource) where ["", "status"].contains(subresource):
            guard !info.name.isEmpty else { throw Refusal.methodNotAllowed }
            let representation = try Representation(accept: request.accept)
            let (result, isNew) = try patch(resource, request, warn: warn)
            return object(result, resource, representation, code: isNew ? 201 : 200)
        case ("delete", ""): return try delete(resource, request)
        case ("deletecollection", ""):
            let page = try Listing.page(resource, info, registry.storage)
            try registry.deleteCollection(resource, page.objects, try deleteOptions(request))
            let representation = try Representation(accept: request.accept)
            return .json(
                representation.bytes(
                    of: page.objects, resource, metadata: page.metadata, now: registry.clock.now.timeIntervalSince1970))
        default: throw Refusal.methodNotAllowed
        }
    }

    static let tokenRequest = Resource("tokenrequests", "TokenRequest", group: "authentication.k8s.io")

    // MARK: Writes

    private func decoded(_ request: ReadRequest, _ resource: Resource, warn: (String) -> Void) throws -> JSON {
        try Decoding.checked(
            try Decoding.object(request, resource), resource, try options(request).fieldValidation, warn: warn)
    }

    func options(_ request: ReadRequest) throws -> WriteOptions {
        let query = request.info.query
        var options = WriteOptions(manager: request.manager)
        switch query["dryRun"] {
        case nil, "": break
        case "All": options.isDryRun = true
        case .some(let other):
            throw Refusal.invalid(
                Resource("", "CreateOptions", group: "meta.k8s.io"), "",
                [.unsupported("dryRun", .array([.string(other)]), ["All"])])
        }
        switch query["fieldValidation"] {
        case nil, "": options.fieldValidation = .warn
        case .some(let given):
            guard let validation = WriteOptions.FieldValidation(rawValue: given) else {
                throw Refusal.invalid(
                    Resource("", "CreateOptions", group: "meta.k8s.io"), "",
                    [.unsupported("fieldValidation", .string(given), ["Ignore", "Strict", "Warn"])])
            }
            options.fieldValidation = validation
        }
        options.isForced = request.info.flag("force")
        return options
    }

    private func delete(_ resource: Resource, _ request: ReadRequest) throws -> Answer {
        let info = request.info
        let outcome = try registry.delete(
            resource, resource.isNamespaced ? info.namespace : "", info.name, try deleteOptions(request))
        switch outcome {
        case .marked(let found): return object(found, resource, .whole)
        case .removed(let found):
            if Deletion.returningObject.contains(resource.name) { return object(found, resource, .whole) }
            return .status(
                details: [
                    "name": .string(info.name), "group": resource.group.isEmpty ? nil : .string(resource.group),
                    "kind": .string(resource.name), "uid": .string(found.uid),
                ])
        }
    }

    private func deleteOptions(_ request: ReadRequest) throws -> DeleteOptions {
        var options = DeleteOptions()
        let query = request.info.query
        var body: JSON = .object([:])
        if !request.body.isEmpty { body = try Decoding.json(request) }
        options.gracePeriodSeconds = body["gracePeriodSeconds"].integer ?? query["gracePeriodSeconds"].flatMap(Int.init)
        if let seconds = options.gracePeriodSeconds, seconds < 0 {
            throw Refusal.invalid(
                Resource("", "DeleteOptions"), "",
                [.invalid("gracePeriodSeconds", .integer(seconds), "must be greater than or equal to 0")])
        }
        options.uid = body["preconditions"]["uid"].string
        options.resourceVersion = body["preconditions"]["resourceVersion"].string
        options.isDryRun = query["dryRun"] == "All" || body["dryRun"].array?.contains("All") == true
        return options
    }

    // MARK: Subresources of pods

    /// The scheduler's word.
    private func bind(_ request: ReadRequest) throws -> Answer {
        let info = request.info
        let node = try Decoding.object(request, Resource("bindings", "Binding")).value["target"]["name"].string ?? ""
        _ = try registry.modify(.pods, info.namespace, info.name, subresource: "binding", try options(request)) { pod in
            guard pod.json["spec"]["nodeName"].string ?? "" == "" else {
                throw Refusal.conflict(
                    .pods, pod.name,
                    "pod \(pod.name) is already assigned to node \"\(pod.json["spec"]["nodeName"].string ?? "")\"")
            }
            var json = pod.json
            json["spec"]["nodeName"] = .string(node)
            return json
        }
        return .status(201, details: nil)
    }

    /// As `kubectl drain` deletes: refused while a budget allows no disruption (429).
    private func evict(_ request: ReadRequest) throws -> Answer {
        let info = request.info
        let pod = try registry.get(.pods, info.namespace, info.name)
        let budgets = registry.storage.read { state in
            state[.podDisruptionBudgets].keys(in: info.namespace).compactMap { state[.podDisruptionBudgets][$0] }
        }
        for budget in budgets {
            guard let selector = LabelSelector(object: budget.json["spec"]["selector"]),
                selector.matches(pod.metadata["labels"].object ?? [:]),
                (budget.json["status"]["disruptionsAllowed"].integer ?? 0) <= 0
            else { continue }
            throw Refusal(
                code: 429, reason: "TooManyRequests",
                message: "Cannot evict pod as it would violate the pod's disruption budget.",
                details: [
                    "causes": [
                        [
                            "reason": "DisruptionBudget",
                            "message": .string("The disruption budget \(budget.name) needs pods"),
                        ]
                    ]
                ])
        }
        _ = try registry.delete(.pods, info.namespace, info.name, DeleteOptions())
        return .status(201, details: nil)
    }

    func object(
        _ object: StoredObject, _ resource: Resource, _ representation: Representation, code: Int = 200
    ) -> Answer {
        .json(
            representation.bytes(of: object, resource, now: registry.clock.now.timeIntervalSince1970), code: code)
    }
}
