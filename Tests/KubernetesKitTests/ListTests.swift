import KubernetesKit
import Testing

@Suite("Lists", .enabled(if: standInIsThere))
struct ListTests {
    @Test(
        "are of one version; items have neither kind nor apiVersion; pages go on where the last ended, in that version")
    func pages() async throws {
        try await Scene.run { scene in
            for name in ["a", "b", "c", "d", "e"] { try await scene.create(scene.configMap(name, labels: ["t": "x"])) }
            let path = "\(scene.core)/configmaps?labelSelector=t%3Dx"
            let whole = try await scene.kubectl.request("GET", path).json
            #expect(whole["kind"] == "ConfigMapList" && whole["apiVersion"] == "v1")
            #expect(whole["items"].array?.count == 5)
            #expect(whole["items"][0]["kind"] == .null && whole["items"][0]["apiVersion"] == .null)
            let first = try await scene.kubectl.request("GET", path + "&limit=2").json
            #expect(names(first) == ["a", "b"])
            // What comes and goes meanwhile is not in the pages that follow.
            try await scene.create(scene.configMap("bb", labels: ["t": "x"]))
            _ = try await scene.kubectl.request("DELETE", "\(scene.core)/configmaps/d")
            let token = try #require(first["metadata"]["continue"].string)
            let second = try await scene.kubectl.request("GET", path + "&limit=2&continue=\(token)").json
            #expect(names(second) == ["c", "d"])
            #expect(second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"])
            let next = try #require(second["metadata"]["continue"].string)
            let third = try await scene.kubectl.request("GET", path + "&limit=2&continue=\(next)").json
            #expect(names(third) == ["e"])
            #expect(third["metadata"]["continue"].string ?? "" == "")
            let wrong = try await scene.kubectl.request("GET", path + "&limit=2&continue=nonsense")
            #expect(wrong.code == 400)
        }
    }

    @Test("a continue token that is too old is refused with 410 Expired and another one, which goes on in the present")
    func expiredContinue() async throws {
        try await Scene.runStandIn { scene, server in
            for name in ["a", "b", "c"] { try await scene.create(scene.configMap(name, labels: ["t": "x"])) }
            let path = "\(scene.core)/configmaps?labelSelector=t%3Dx&limit=1"
            let first = try await scene.kubectl.request("GET", path).json
            try await scene.create(scene.configMap("bb", labels: ["t": "x"]))
            server.compact()
            let token = try #require(first["metadata"]["continue"].string)
            let expired = try await scene.kubectl.request("GET", path + "&continue=\(token)")
            #expect(expired.code == 410 && expired.reason == "Expired")
            let other = try #require(expired.json["metadata"]["continue"].string)
            let second = try await scene.kubectl.request("GET", "\(path.dropLast(1))5&continue=\(other)").json
            #expect(names(second) == ["b", "bb", "c"])
        }
    }

    @Test("label selectors choose by equality and by sets")
    func labelSelectors() async throws {
        let expectations: [(selector: String, names: [String])] = [
            ("tier=web", ["a", "b"]), ("tier==web", ["a", "b"]), ("tier!=web", ["c", "d"]),
            ("tier in (web,db)", ["a", "b", "c"]), ("tier notin (web),tier", ["c"]), ("!tier", ["d"]),
            ("tier,canary", ["b"]), ("tier=web,!canary", ["a"]),
        ]
        try await Scene.run { scene in
            let labels: [(String, JSON)] = [
                ("a", ["tier": "web", "t": "x"]), ("b", ["tier": "web", "canary": "", "t": "x"]),
                ("c", ["tier": "db", "t": "x"]), ("d", ["t": "x"]),
            ]
            for (name, labels) in labels { try await scene.create(scene.configMap(name, labels: labels)) }
            for (selector, expected) in expectations {
                let query = (selector + ",t=x").replacing(" ", with: "%20").replacing("=", with: "%3D")
                let list = try await scene.kubectl.request("GET", "\(scene.core)/configmaps?labelSelector=\(query)")
                    .json
                #expect(names(list) == expected, "\(selector)")
            }
        }
    }

    @Test("field selectors choose among the fields that a kind has; others are refused")
    func fieldSelectors() async throws {
        try await Scene.run { scene in
            try await scene.create(scene.pod("here", node: "node-1"))
            try await scene.create(scene.pod("there", node: "node-2"))
            try await scene.create(scene.pod("nowhere"))
            func names(_ selector: String) async throws -> [String] {
                let output = try await scene.succeed("get", "pods", "--field-selector", selector, "-o", "name").output
                return output.split(separator: "\n").map { String($0.dropFirst(4)) }
            }
            #expect(try await names("spec.nodeName=node-1") == ["here"])
            #expect(try await names("spec.nodeName=") == ["nowhere"])
            #expect(try await names("status.phase=Pending,metadata.name!=there") == ["here", "nowhere"])
            let refused = try await scene.kubectl.request("GET", "\(scene.core)/pods?fieldSelector=spec.hostname%3Dx")
            #expect(refused.code == 400 && refused.message.contains("field label not supported: spec.hostname"))
            let malformed = try await scene.kubectl.request("GET", "\(scene.core)/pods?labelSelector=a%20b")
            #expect(malformed.code == 400)
        }
    }

    @Test("resourceVersion: 0 and any past one are served; one that is not there yet is 504; Exact is that version")
    func versions() async throws {
        try await Scene.run { scene in
            let first = try await scene.create(scene.configMap("a"))
            try await scene.create(scene.configMap("b"))
            let version = try #require(first["metadata"]["resourceVersion"].string)
            let path = "\(scene.core)/configmaps?labelSelector=%21kubernetes&resourceVersion="
            let any = try await scene.kubectl.request("GET", path + "0")
            #expect(any.code == 200)
            let newer = try await scene.kubectl.request("GET", path + version + "&resourceVersionMatch=NotOlderThan")
                .json
            #expect(names(newer).contains("b"))
            let exact = try await scene.kubectl.request("GET", path + version + "&resourceVersionMatch=Exact").json
            #expect(names(exact).contains("a") && !names(exact).contains("b"))
            #expect(exact["metadata"]["resourceVersion"].string == version)
            let future = try await scene.kubectl.request(
                "GET", path + "\(Int.max / 2)&resourceVersionMatch=NotOlderThan")
            #expect(future.code == 504 && future.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge")
            let match = try await scene.kubectl.request("GET", "\(scene.core)/configmaps?resourceVersionMatch=Exact")
            #expect(match.code == 422 && match.reason == "Invalid")
        }
    }

    @Test("tables and metadata are served to who asks for them, 406 to who asks for what is not there")
    func representations() async throws {
        try await Scene.run { scene in
            try await scene.create(scene.pod("one"))
            let table = try await scene.kubectl.request(
                "GET", "\(scene.core)/pods", accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
            ).json
            #expect(table["kind"] == "Table" && table["columnDefinitions"][0]["name"] == "Name")
            #expect(table["rows"][0]["object"]["kind"] == "PartialObjectMetadata")
            let metadata = try await scene.kubectl.request(
                "GET", "\(scene.core)/pods/one", accept: "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
            ).json
            #expect(metadata["kind"] == "PartialObjectMetadata" && metadata["spec"] == .null)
            let neither = try await scene.kubectl.request("GET", "\(scene.core)/pods/one", accept: "image/png")
            #expect(neither.code == 406 && neither.reason == "NotAcceptable")
        }
    }

    private func names(_ list: JSON) -> [String] {
        (list["items"].array ?? []).compactMap { $0["metadata"]["name"].string }
    }
}
