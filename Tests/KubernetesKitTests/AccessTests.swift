import FoundationEssentials
import KubernetesKit
import Testing

@Suite("Who may do what", .enabled(if: standInIsThere))
struct AccessTests {
    @Test("no credentials are the anonymous user, who may see the version; credentials that prove nothing are 401")
    func authentication() async throws {
        try await Scene.runStandIn { scene, server in
            let nobody = try Kubectl(server, .nobody)
            #expect(try await nobody.request("GET", "/version").json["major"] == "1")
            let refused = try await nobody.request("GET", "/api/v1/namespaces")
            #expect(refused.code == 403 && refused.reason == "Forbidden")
            #expect(
                refused.message
                    == "namespaces is forbidden: User \"system:anonymous\" cannot list resource \"namespaces\" in API "
                    + "group \"\" at the cluster scope")
            let liar = try await Kubectl(server, .token("nonsense")).request("GET", "/version")
            #expect(liar.code == 401 && liar.reason == "Unauthorized" && liar.json["code"] == 401)
            let other = try await Kubectl(server, .certificate(user: "jane", groups: ["dev"])).request(
                "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                body: ["kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"])
            #expect(other.code == 201 && other.json["status"]["userInfo"]["username"] == "jane")
            #expect(other.json["status"]["userInfo"]["groups"] == ["dev", "system:authenticated"])
        }
    }

    private func review(_ scene: Scene, _ token: String, _ audiences: [String]) async throws -> JSON {
        let body: JSON = [
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
            "spec": ["token": .string(token), "audiences": JSON(audiences)],
        ]
        return try await scene.kubectl.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body: body)
            .json["status"]
    }

    @Test("a token that is bound to a pod names pod and node in a review, for its audiences only")
    func boundTokens() async throws {
        try await Scene.run { scene in
            let pod = try await scene.create(scene.pod("one", node: "node-1"))
            let path = "\(scene.core)/serviceaccounts/default/token"
            func request(_ spec: JSON) async throws -> Kubectl.Reply {
                try await scene.kubectl.request(
                    "POST", path,
                    body: ["kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec])
            }
            let bound: JSON = [
                "kind": "Pod", "apiVersion": "v1", "name": "one", "uid": pod["metadata"]["uid"],
            ]
            let issued = try await request([
                "audiences": ["culvert-ca"], "expirationSeconds": 600, "boundObjectRef": bound,
            ])
            #expect(issued.code == 201, "\(issued.body)")
            let token = issued.json["status"]["token"].string ?? ""
            let status = try await review(scene, token, ["culvert-ca", "other"])
            #expect(status["authenticated"] == true && status["audiences"] == ["culvert-ca"])
            let user = status["user"]
            #expect(user["username"].string == "system:serviceaccount:\(scene.namespace):default")
            #expect(user["groups"].array?.contains("system:serviceaccounts") == true)
            #expect(user["extra"]["authentication.kubernetes.io/pod-name"] == ["one"])
            #expect(user["extra"]["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]])
            let wrong = try await review(scene, token, ["other"])
            #expect(wrong["authenticated"] == .null && wrong["error"].string?.contains("audience") == true)
            // The API server is none of its audiences.
            #expect(try await review(scene, token, [])["authenticated"] == .null)
            let forged = String(token.dropLast(4)) + "AAAA"
            #expect(try await review(scene, forged, ["culvert-ca"])["authenticated"] == .null)
            #expect(try await request(["expirationSeconds": 60]).code == 422)
            let stranger: JSON = ["kind": "Pod", "apiVersion": "v1", "name": "one", "uid": "other"]
            #expect(try await request(["boundObjectRef": stranger]).code == 409)
            let word = try await scene.kubectl.request(
                "DELETE", "\(scene.core)/pods/one", body: ["gracePeriodSeconds": 0])
            #expect(word.code == 200)
            #expect(try await review(scene, token, ["culvert-ca"])["authenticated"] == .null)
        }
    }

    @Test("a token ends with its time, and with its account")
    func expiry() async throws {
        try await Scene.runStandIn { scene, server in
            let token = try server.token("default", serviceAccount: "default", seconds: 600)
            let user = try Kubectl(server, .token(token))
            let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            let body: JSON = ["kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"]
            #expect(try await user.request("POST", path, body: body).code == 201)
            server.clock.advance(seconds: 601)
            #expect(try await user.request("POST", path, body: body).code == 401)
            let second = try server.token("default", serviceAccount: "default", seconds: 600)
            let other = try Kubectl(server, .token(second))
            #expect(try await other.request("POST", path, body: body).code == 201)
            try server.delete(.serviceAccounts, "default", "default")
            #expect(try await other.request("POST", path, body: body).code == 401)
        }
    }

    @Test(
        "roles give what they say: verbs, groups, subresources, names, one namespace; the rules that were needed are known"
    )
    func roles() async throws {
        try await Scene.runStandIn { scene, server in
            try server.create(
                yaml: """
                    apiVersion: rbac.authorization.k8s.io/v1
                    kind: ClusterRole
                    metadata: {name: agent}
                    rules:
                    - {apiGroups: [""], resources: [pods], verbs: [get, list, watch]}
                    - {apiGroups: [""], resources: [pods/status], verbs: [patch]}
                    - {apiGroups: [""], resources: [configmaps], resourceNames: [one], verbs: [get]}
                    ---
                    apiVersion: rbac.authorization.k8s.io/v1
                    kind: RoleBinding
                    metadata: {name: agent, namespace: \(scene.namespace)}
                    subjects: [{kind: User, name: agent, apiGroup: rbac.authorization.k8s.io}]
                    roleRef: {kind: ClusterRole, name: agent, apiGroup: rbac.authorization.k8s.io}
                    """)
            server.addToken("agent-token", for: User(name: "agent", groups: ["system:authenticated"]))
            try server.addPod(APIServer.pod(scene.namespace, "one", node: "n", ip: "10.0.0.1"))
            let agent = try Kubectl(server, .token("agent-token"))
            func code(_ method: String, _ path: String, _ body: JSON? = nil) async throws -> Int {
                try await agent.request(method, path, body: body, contentType: "application/merge-patch+json").code
            }
            #expect(try await code("GET", "\(scene.core)/pods") == 200)
            #expect(try await code("GET", "\(scene.core)/pods/one") == 200)
            #expect(try await code("PATCH", "\(scene.core)/pods/one/status", ["status": ["reason": "x"]]) == 200)
            #expect(try await code("PATCH", "\(scene.core)/pods/one", ["metadata": ["labels": ["a": "b"]]]) == 403)
            #expect(try await code("GET", "\(scene.core)/configmaps/one") == 404)
            #expect(try await code("GET", "\(scene.core)/configmaps/two") == 403)
            #expect(try await code("GET", "\(scene.core)/configmaps") == 403)
            #expect(try await code("GET", "/api/v1/namespaces/default/pods") == 403)
            #expect(try await code("GET", "/api/v1/pods") == 403)
            let used = server.usedRules.filter { $0.role == "ClusterRole/agent" }
            #expect(
                Set(used.map { "\($0.index) \($0.verb) \($0.resource)" }) == [
                    "0 list pods", "0 get pods", "1 patch pods/status", "2 get configmaps",
                ])
            let last = server.requests.last { $0.user == "agent" }
            #expect(last?.code == 403 && last?.path == "/api/v1/pods" && last?.verb == "list")
        }
    }
}
