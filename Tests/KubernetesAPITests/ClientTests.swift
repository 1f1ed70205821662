import NIOCore
import Testing

@testable import KubernetesAPI

@Suite("Requests to the API server", .timeLimit(.minutes(2)))
struct ClientTests {
    typealias Step = ScriptedServer.Step

    static func client(
        _ server: ScriptedServer, _ change: (inout KubernetesClient.Limits) -> Void = { _ in }
    ) -> KubernetesClient {
        var configuration = ClusterConfiguration(server: server.url)
        configuration.token = .text("secret")
        var limits = KubernetesClient.Limits()
        change(&limits)
        return KubernetesClient(configuration, userAgent: "culvert/test", limits: limits)
    }

    static func namespaces(_ names: [String], next: String? = nil, version: String = "10") -> String {
        let items = names.map { #"{"metadata":{"name":"\#($0)","uid":"\#($0)","resourceVersion":"1"}}"# }
        let rest = next.map { #","continue":"\#($0)""# } ?? ""
        return """
            {"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"\(version)"\(rest)},\
            "items":[\(items.joined(separator: ","))]}
            """
    }

    static let namespace = #"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"shop","resourceVersion":"5"}}"#

    static func status(_ code: Int, _ reason: String, _ extra: String = "") -> String {
        #"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"\#(reason)","code":\#(code)\#(extra)}"#
    }

    @Test("name themselves and carry the token")
    func headers() async throws {
        try await ScriptedServer.serving { _, _ in
            Step.answer(200, Self.namespace)
        } _: { server in
            let found = try await Self.client(server).get(Namespace.self, name: "shop")
            #expect(found.name == "shop")
            let request = try #require(server.requests.first)
            #expect(request.uri == "/api/v1/namespaces/shop")
            #expect(request.headers.first(name: "User-Agent") == "culvert/test")
            #expect(request.headers.first(name: "Authorization") == "Bearer secret")
            #expect(request.headers.first(name: "Accept") == "application/json")
        }
    }

    @Test("a list is read page by page, and its selection is asked for")
    func pages() async throws {
        try await ScriptedServer.serving { request, _ in
            request.query["continue"] == nil
                ? Step.answer(200, Self.namespaces(["a", "b"], next: "n=1&x"))
                : Step.answer(200, Self.namespaces(["c"]))
        } _: { server in
            let list = try await Self.client(server) { $0.pageItems = 2 }.list(
                Namespace.self, Selection(labels: "a=b,c in (d)", fields: "metadata.name!=x"))
            #expect(list.items.map(\.name) == ["a", "b", "c"])
            #expect(list.resourceVersion == "10")
            let queries = server.requests.map(\.query)
            #expect(queries.map { $0["limit"] } == ["2", "2"])
            #expect(queries.map { $0["continue"] } == [nil, "n%3D1%26x"])
            #expect(queries.map { $0["labelSelector"] } == Array(repeating: "a%3Db%2Cc%20in%20%28d%29", count: 2))
            #expect(queries.map { $0["fieldSelector"] } == Array(repeating: "metadata.name%21%3Dx", count: 2))
        }
    }

    @Test("a list whose next page is forgotten is begun anew, and not for ever")
    func expiredPage() async throws {
        try await ScriptedServer.serving { request, number in
            if request.query["continue"] == nil { return Step.answer(200, Self.namespaces(["a"], next: "n")) }
            return number == 1
                ? Step.answer(410, Self.status(410, "Expired")) : Step.answer(200, Self.namespaces(["b"]))
        } _: { server in
            let list = try await Self.client(server).list(Namespace.self)
            #expect(list.items.map(\.name) == ["a", "b"])
            #expect(server.requests.count == 4)
        }
        try await ScriptedServer.serving { request, _ in
            request.query["continue"] == nil
                ? Step.answer(200, Self.namespaces(["a"], next: "n")) : Step.answer(410, Self.status(410, "Expired"))
        } _: { server in
            let error = await #expect(throws: KubernetesError.self) {
                try await Self.client(server).list(Namespace.self)
            }
            #expect(error?.reason == .expired)
        }
    }

    @Test(
        "what is not a list of the kind is no empty list",
        arguments: [
            "{}", "[]", "null", "", "<html>",
            #"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}"#,
            #"{"kind":"NamespaceList","apiVersion":"v1","metadata":{},"items":[]}"#,
            #"{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"1"}}"#,
            #"{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{"metadata":{}}]}"#,
            #"{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"1","continue":"x"},"items":[]}"#,
        ])
    func foreignAnswers(body: String) async throws {
        try await ScriptedServer.serving { _, _ in
            Step.answer(200, body)
        } _: { server in
            await #expect(throws: KubernetesError.self) { try await Self.client(server).list(Namespace.self) }
        }
    }

    @Test("a refusal comes with its reason and message")
    func refusals() async throws {
        let expected: [(Int, String, KubernetesError.Refusal.Reason)] = [
            (404, "NotFound", .notFound), (409, "Conflict", .conflict), (409, "AlreadyExists", .alreadyExists),
            (403, "Forbidden", .forbidden), (422, "Invalid", .invalid), (410, "Gone", .expired),
            (418, "Teapot", .other("Teapot")), (400, "", .badRequest), (500, "", .unavailable),
        ]
        for (code, reason, outcome) in expected {
            try await ScriptedServer.serving { _, _ in
                Step.answer(code, Self.status(code, reason))
            } _: { server in
                let error = await #expect(throws: KubernetesError.self) {
                    try await Self.client(server).get(Namespace.self, name: "x")
                }
                #expect(error == .refused(.init(code: code, reason: outcome, message: "no")))
            }
        }
        try await ScriptedServer.serving { _, _ in
            Step.answer(502, "<html>bad gateway</html>")
        } _: { server in
            let error = await #expect(throws: KubernetesError.self) {
                try await Self.client(server).get(Namespace.self, name: "x")
            }
            #expect(error?.reason == .unavailable)
        }
    }

    @Test("an overloaded server is asked again when it wants to be, and not for ever")
    func overload() async throws {
        try await ScriptedServer.serving { _, number in
            number < 2
                ? Step.answer(429, Self.status(429, "TooManyRequests"), headers: "Retry-After: 0\r\n")
                : Step.answer(200, Self.namespace)
        } _: { server in
            _ = try await Self.client(server).get(Namespace.self, name: "shop")
            #expect(server.requests.count == 3)
        }
        try await ScriptedServer.serving { _, _ in
            Step.answer(503, "", headers: "Retry-After: 0\r\n")
        } _: { server in
            await #expect(throws: KubernetesError.self) {
                try await Self.client(server).get(Namespace.self, name: "shop")
            }
            #expect(server.requests.count == Patience.overloadsMax + 1)
        }
        var patience = Patience()
        #expect(patience.wait(after: .init(code: 429, reason: .tooManyRequests, message: "")) == .seconds(1))
        let long = KubernetesError.Refusal(code: 429, reason: .tooManyRequests, message: "", retryAfter: .seconds(31))
        #expect(patience.wait(after: long) == nil)
        #expect(patience.wait(after: .init(code: 503, reason: .unavailable, message: "")) == nil)
    }

    @Test("an answer that is too large, broken off or not in time is an error, each its own")
    func badAnswers() async throws {
        func outcome(
            _ steps: [Step], _ change: (inout KubernetesClient.Limits) -> Void = { _ in }
        ) async throws -> KubernetesError? {
            try await ScriptedServer.serving { _, _ in
                steps
            } _: { server in
                await #expect(throws: KubernetesError.self) {
                    try await Self.client(server, change).get(Namespace.self, name: "x")
                }
            }
        }
        #expect(
            try await outcome(Step.answer(200, Self.namespace)) { $0.bodyBytesMax = 20 } == .unusable("it is too large")
        )
        #expect(try await outcome([.silence]) { $0.answerTimeout = .milliseconds(50) } == .timedOut)
        let half = Step.raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        for end in [Step.close, .reset] {
            guard case .unreachable = try await outcome([half, end]) else {
                Issue.record("a broken answer is unreachable")
                return
            }
        }
        guard case .unreachable = try await outcome([.raw("nonsense\r\n\r\n")]) else {
            Issue.record("no HTTP is unreachable")
            return
        }
    }

    @Test("a read is made again when the kept connection turns out to be closed, a write is not")
    func closedConnection() async throws {
        try await ScriptedServer.serving { _, number in
            number == 0 ? [.close] : Step.answer(200, Self.namespace)
        } _: { server in
            _ = try await Self.client(server).get(Namespace.self, name: "shop")
            #expect(server.requests.count == 2)
        }
        try await ScriptedServer.serving { _, _ in
            [.close]
        } _: { server in
            await #expect(throws: KubernetesError.self) {
                try await Self.client(server).create(
                    ConfigMap(metadata: ObjectMeta(name: "a", namespace: "b"), data: [:]))
            }
            #expect(server.requests.count == 1)
        }
    }

    @Test("each kind of write has its method, path and content type")
    func writes() async throws {
        let map = #"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"b"},"data":{"k":"v"}}"#
        try await ScriptedServer.serving { _, _ in
            Step.answer(200, map)
        } _: { server in
            let client = Self.client(server)
            let object = ConfigMap(
                metadata: ObjectMeta(name: "a", namespace: "b", resourceVersion: "7"), data: ["k": "v\""])
            _ = try await client.create(object)
            _ = try await client.update(object)
            for patch: Patch in [
                .merge(["data": ["k": nil]]), .strategicMerge(["data": [:]]), .json([["op": "test"]]),
                .apply(object, manager: "culvert ca"),
            ] { try await client.patch(ConfigMap.self, name: "a", namespace: "b", patch) }
            try await client.patch(ConfigMap.self, name: "a", namespace: "b", subresource: "status", .merge([:]))
            try await client.delete(ConfigMap.self, name: "a", namespace: "b", uid: "u")
            let requests = server.requests
            #expect(
                requests.map { "\($0.method) \($0.uri)" } == [
                    "POST /api/v1/namespaces/b/configmaps", "PUT /api/v1/namespaces/b/configmaps/a",
                    "PATCH /api/v1/namespaces/b/configmaps/a", "PATCH /api/v1/namespaces/b/configmaps/a",
                    "PATCH /api/v1/namespaces/b/configmaps/a",
                    "PATCH /api/v1/namespaces/b/configmaps/a?fieldManager=culvert%20ca&force=true",
                    "PATCH /api/v1/namespaces/b/configmaps/a/status", "DELETE /api/v1/namespaces/b/configmaps/a",
                ])
            #expect(
                requests.map { $0.headers.first(name: "Content-Type") } == [
                    "application/json", "application/json", "application/merge-patch+json",
                    "application/strategic-merge-patch+json", "application/json-patch+json",
                    "application/apply-patch+yaml", "application/merge-patch+json", "application/json",
                ])
            #expect(
                requests[1].body
                    == #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"b","resourceVersion":"7"},"data":{"k":"v\""}}"#
            )
            #expect(requests[2].body == #"{"data":{"k":null}}"#)
            #expect(requests[7].body.contains(#""preconditions":{"uid":"u"}"#))
        }
    }

    @Test("a token review says whose a token is")
    func review() async throws {
        let answer = #"""
            {"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"token":"t"},"status":
            {"authenticated":true,"audiences":["culvert-ca"],"user":{"username":"system:serviceaccount:a:b","uid":"u",
            "groups":["g"],"extra":{"authentication.kubernetes.io/pod-name":["p"]}}}}
            """#
        try await ScriptedServer.serving { _, _ in
            Step.answer(201, answer)
        } _: { server in
            let status = try await Self.client(server).review(token: "t", audiences: ["culvert-ca"])
            #expect(status.isAuthenticated && status.audiences == ["culvert-ca"])
            #expect(status.username == "system:serviceaccount:a:b")
            #expect(status.extra == ["authentication.kubernetes.io/pod-name": ["p"]])
            #expect(server.requests[0].uri == "/apis/authentication.k8s.io/v1/tokenreviews")
            #expect(
                server.requests[0].body.hasSuffix(#""metadata":{},"spec":{"token":"t","audiences":["culvert-ca"]}}"#))
        }
    }
}
