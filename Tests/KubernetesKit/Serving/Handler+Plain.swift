internal import FoundationEssentials

/// What is no resource: versions, health, discovery, schemas; and the reviews, which are stored nowhere.
extension Handler {
    func plain(_ request: ReadRequest) throws -> Answer {
        let info = request.info
        let path = info.path.count > 1 && info.path.hasSuffix("/") ? String(info.path.dropLast()) : info.path
        guard info.method == .get || info.method == .head else { throw Refusal.methodNotAllowed }
        switch path {
        case "/version": return .json(Discovery.version.bytes)
        case "/healthz", "/livez", "/readyz": return .json(Array("ok".utf8), contentType: "text/plain; charset=utf-8")
        case "/openid/v1/jwks": return .json(tokens.keySet.bytes, contentType: "application/jwk-set+json")
        case "/.well-known/openid-configuration":
            let document: JSON = [
                "issuer": .string(ServiceAccountTokens.issuer),
                "jwks_uri": .string(ServiceAccountTokens.issuer + "/openid/v1/jwks"),
                "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            ]
            return .json(document.bytes)
        case "/openapi/v2": return try OpenAPI.second(accept: request.accept)
        case "/openapi/v3": return .json(OpenAPI.index.bytes)
        default: break
        }
        if path.hasPrefix("/openapi/v3/"), let document = OpenAPI.document(path.dropFirst("/openapi/v3/".count)) {
            return .json(document)
        }
        guard let answer = Discovery.answer(path: path, accept: request.accept) else { throw Refusal.noSuchPath }
        let isAggregated = Discovery.wantsAggregated(request.accept) && Discovery.isAggregated(path)
        return .json(answer.bytes, contentType: isAggregated ? Discovery.aggregatedType : "application/json")
    }

    func review(_ resource: Resource, _ request: ReadRequest) throws -> Answer {
        let body = try Decoding.checked(
            try Decoding.object(request, resource), resource, .ignore, warn: { _ in })
        var answer = body
        answer["apiVersion"] = .string(resource.apiVersion)
        answer["kind"] = .string(resource.kind)
        switch resource.kind {
        case "TokenReview":
            let token = body["spec"]["token"].string ?? ""
            guard !token.isEmpty else {
                throw Refusal.badRequest("token is required for TokenReview in authentication")
            }
            let audiences = (body["spec"]["audiences"].array ?? []).compactMap(\.string)
            switch authenticator.review(token, audiences: audiences) {
            case .known(let user, let audiences):
                answer["status"] = ["authenticated": true, "user": user.json, "audiences": JSON(audiences)]
            case .unknown(let why): answer["status"] = ["user": .object([:]), "error": .string(why)]
            }
        case "SelfSubjectReview": answer["status"] = ["userInfo": request.user.json]
        case "SelfSubjectRulesReview":
            let namespace = body["spec"]["namespace"].string ?? ""
            guard !namespace.isEmpty else { throw Refusal.badRequest("no namespace on request") }
            let rules = registry.storage.read { Authorizer.rules(of: request.user, namespace: namespace, in: $0) }.map(
                \.rule)
            answer["status"] = [
                "resourceRules": .array(rules.filter { $0["resources"] != .null }),
                "nonResourceRules": .array(rules.filter { $0["nonResourceURLs"] != .null }), "incomplete": false,
            ]
        default:
            var user = request.user
            if resource.kind == "SubjectAccessReview" {
                user = User(
                    name: body["spec"]["user"].string ?? "",
                    groups: (body["spec"]["groups"].array ?? []).compactMap(\.string))
            }
            let denial = authorizer.denial(user, Self.attributes(body["spec"]), isRecorded: false)
            answer["status"] = ["allowed": .bool(denial == nil)]
        }
        return .json(answer.bytes, code: 201)
    }

    private static func attributes(_ spec: JSON) -> Attributes {
        let resource = spec["resourceAttributes"]
        guard resource != .null else {
            let path = spec["nonResourceAttributes"]
            return Attributes(verb: path["verb"].string ?? "", path: path["path"].string ?? "")
        }
        var attributes = Attributes(verb: resource["verb"].string ?? "")
        attributes.group = resource["group"].string ?? ""
        attributes.resource = resource["resource"].string ?? ""
        attributes.subresource = resource["subresource"].string ?? ""
        attributes.namespace = resource["namespace"].string ?? ""
        attributes.name = resource["name"].string ?? ""
        return attributes
    }
}
