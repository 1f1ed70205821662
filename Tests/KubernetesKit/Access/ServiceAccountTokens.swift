internal import Crypto
internal import FoundationEssentials

/// Signed tokens of service accounts, as TokenRequest gives them: a JWT bound to the account and, where asked for, to one pod.
final class ServiceAccountTokens: Sendable {
    static let issuer = "https://kubernetes.default.svc.cluster.local"
    static let secondsMin = 600
    /// A pod that is being deleted keeps its token this long past its deletion timestamp.
    static let deletionLeeway = 60.0

    private let key = P256.Signing.PrivateKey()
    private let registry: Registry

    init(registry: Registry) { self.registry = registry }

    struct Refused: Error { let why: String }

    /// Answers a `TokenRequest`: the request with its status.
    func issue(_ request: JSON, namespace: String, account: String) throws -> JSON {
        let object = try registry.get(.serviceAccounts, namespace, account)
        let resource = Resource(
            "tokenrequests", "TokenRequest", group: "authentication.k8s.io", namespaced: true)
        let seconds = request["spec"]["expirationSeconds"].integer ?? 3600
        guard seconds >= Self.secondsMin else {
            throw Refusal.invalid(
                resource, "",
                [
                    .invalid(
                        "spec.expirationSeconds", .integer(seconds), "may not specify a duration less than 10 minutes")
                ])
        }
        guard seconds <= 1 << 32 else {
            throw Refusal.invalid(
                resource, "",
                [
                    .invalid(
                        "spec.expirationSeconds", .integer(seconds),
                        "may not specify a duration larger than 2^32 seconds")
                ])
        }
        let given = (request["spec"]["audiences"].array ?? []).compactMap(\.string)
        let audiences = given.isEmpty ? [Self.issuer] : given
        var bound: JSON = [
            "namespace": .string(namespace),
            "serviceaccount": ["name": .string(account), "uid": .string(object.uid)],
        ]
        let reference = request["spec"]["boundObjectRef"]
        if reference != .null { try bind(&bound, to: reference, namespace: namespace, account: account) }
        let now = Int(registry.clock.now.timeIntervalSince1970)
        let claims: JSON = [
            "aud": JSON(audiences), "exp": .integer(now + seconds), "iat": .integer(now), "nbf": .integer(now),
            "iss": .string(Self.issuer), "jti": .string(Registry.uid()),
            "sub": .string("system:serviceaccount:\(namespace):\(account)"), "kubernetes.io": bound,
        ]
        var answer = request
        answer["apiVersion"] = "authentication.k8s.io/v1"
        answer["kind"] = "TokenRequest"
        answer["metadata"]["name"] = .string(account)
        answer["metadata"]["namespace"] = .string(namespace)
        answer["metadata"]["creationTimestamp"] = .string(Timestamps.text(registry.clock.now))
        answer["spec"]["audiences"] = JSON(audiences)
        answer["spec"]["expirationSeconds"] = .integer(seconds)
        answer["status"] = [
            "token": .string(try sign(claims)),
            "expirationTimestamp": .string(Timestamps.text(seconds: Double(now + seconds))),
        ]
        return answer
    }

    private func bind(_ claims: inout JSON, to reference: JSON, namespace: String, account: String) throws {
        let name = reference["name"].string ?? ""
        let resource: Resource
        switch reference["kind"].string {
        case "Pod": resource = .pods
        case "Secret": resource = .secrets
        case "Node": resource = .nodes
        default:
            throw Refusal.badRequest(
                "cannot bind token to object of type \(reference["apiVersion"].string ?? ""), Kind="
                    + (reference["kind"].string ?? ""))
        }
        let object = try registry.get(resource, resource.isNamespaced ? namespace : "", name)
        if let uid = reference["uid"].string, !uid.isEmpty, uid != object.uid {
            throw Refusal.conflict(
                resource, name,
                "the UID in the bound object reference (\(uid)) does not match the UID in record. The object might have been "
                    + "deleted and then recreated")
        }
        claims[resource.singular] = ["name": .string(name), "uid": .string(object.uid)]
        guard resource == .pods else { return }
        guard object.json["spec"]["serviceAccountName"].string == account else {
            throw Refusal.badRequest(
                "cannot bind token for serviceaccount \"\(account)\" to pod running with different serviceaccount name."
            )
        }
        if let node = object.json["spec"]["nodeName"].string, !node.isEmpty {
            let record = registry.storage.read { $0.object(.nodes, "", node) }
            claims["node"] = ["name": .string(node), "uid": record.map { .string($0.uid) } ?? .null]
        }
    }

    private func sign(_ claims: JSON) throws -> String {
        let header: JSON = ["alg": "ES256", "kid": .string(keyID), "typ": "JWT"]
        let signed = Base64.url(header.bytes) + "." + Base64.url(claims.bytes)
        let signature = try key.signature(for: Data(signed.utf8))
        return signed + "." + Base64.url(Array(signature.rawRepresentation))
    }

    var keyID: String { Base64.url(Array(SHA256.hash(data: key.publicKey.x963Representation))) }

    /// The public half, for `/openid/v1/jwks`.
    var keySet: JSON {
        let point = Array(key.publicKey.rawRepresentation)
        return [
            "keys": [
                [
                    "use": "sig", "kty": "EC", "kid": .string(keyID), "alg": "ES256", "crv": "P-256",
                    "x": .string(Base64.url(Array(point[..<32]))), "y": .string(Base64.url(Array(point[32...]))),
                ]
            ]
        ]
    }

    /// Whose token it is. It must be ours, in time, and everything that it is bound to must still be there.
    ///
    /// - Returns: nil where it is no token of ours at all.
    func user(of token: String, audiences wanted: [String]) throws(Refused) -> (user: User, audiences: [String])? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let payload = Base64.bytes(url: parts[1]), let claims = try? JSON(parsing: payload),
            claims["iss"].string == Self.issuer
        else { return nil }
        guard let signature = Base64.bytes(url: parts[2]),
            let parsed = try? P256.Signing.ECDSASignature(rawRepresentation: signature),
            key.publicKey.isValidSignature(parsed, for: Data((parts[0] + "." + parts[1]).utf8))
        else { throw Refused(why: "invalid bearer token") }
        let now = registry.clock.now.timeIntervalSince1970
        guard Double(claims["exp"].integer ?? 0) > now else {
            throw Refused(why: "[invalid bearer token, service account token has expired]")
        }
        let given = (claims["aud"].array ?? []).compactMap(\.string)
        let audiences = given.filter(wanted.contains)
        guard !audiences.isEmpty else {
            throw Refused(
                why:
                    "[invalid bearer token, token audiences [\(given.map { "\"\($0)\"" }.joined(separator: " "))] is invalid for "
                    + "the target audiences [\(wanted.map { "\"\($0)\"" }.joined(separator: " "))]]")
        }
        return (try user(claims, now: now), audiences)
    }

    private func user(_ claims: JSON, now: Double) throws(Refused) -> User {
        let bound = claims["kubernetes.io"]
        let namespace = bound["namespace"].string ?? ""
        let account = bound["serviceaccount"]
        let name = account["name"].string ?? ""
        try present(.serviceAccounts, namespace, account, now)
        var extra: [String: [String]] = [
            "authentication.kubernetes.io/credential-id": ["JTI=" + (claims["jti"].string ?? "")]
        ]
        if bound["pod"] != .null {
            try present(.pods, namespace, bound["pod"], now)
            extra["authentication.kubernetes.io/pod-name"] = [bound["pod"]["name"].string ?? ""]
            extra["authentication.kubernetes.io/pod-uid"] = [bound["pod"]["uid"].string ?? ""]
        } else if bound["node"] != .null {
            try present(.nodes, "", bound["node"], now)
        }
        if bound["secret"] != .null { try present(.secrets, namespace, bound["secret"], now) }
        if let node = bound["node"]["name"].string {
            extra["authentication.kubernetes.io/node-name"] = [node]
            if let uid = bound["node"]["uid"].string { extra["authentication.kubernetes.io/node-uid"] = [uid] }
        }
        return User(
            name: "system:serviceaccount:\(namespace):\(name)", uid: account["uid"].string ?? "",
            groups: [
                "system:serviceaccounts", "system:serviceaccounts:\(namespace)", "system:authenticated",
            ], extra: extra)
    }

    private func present(_ resource: Resource, _ namespace: String, _ reference: JSON, _ now: Double) throws(Refused) {
        let name = reference["name"].string ?? ""
        guard let object = registry.storage.read({ $0.object(resource, namespace, name) }),
            object.uid == reference["uid"].string
        else { throw Refused(why: "[invalid bearer token, service account token has been invalidated]") }
        if let end = object.metadata["deletionTimestamp"].string.flatMap(Timestamps.seconds),
            end + Self.deletionLeeway < now
        {
            throw Refused(why: "[invalid bearer token, service account token has been invalidated]")
        }
    }
}
