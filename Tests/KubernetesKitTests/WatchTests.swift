import KubernetesKit
import Testing

@Suite("Watches", .enabled(if: standInIsThere))
struct WatchTests {
    /// Type and name of each event.
    private func words(_ events: [JSON]) -> [String] {
        events.map { "\($0["type"].string ?? "?") \($0["object"]["metadata"]["name"].string ?? "-")" }
    }

    @Test("begin after a version; what begins or ceases to match a selector is added or deleted")
    func transitions() async throws {
        try await Scene.run { scene in
            let first = try await scene.create(scene.configMap("a", labels: ["on": "yes"]))
            try await scene.create(scene.configMap("b"))
            let patch: JSON = ["metadata": ["labels": ["on": "yes"]]]
            func set(_ name: String, _ body: JSON) async throws {
                let reply = try await scene.kubectl.request(
                    "PATCH", "\(scene.core)/configmaps/\(name)", body: body,
                    contentType: "application/merge-patch+json")
                #expect(reply.code == 200)
            }
            try await set("b", patch)
            try await set("b", ["data": ["a": "2"]])
            try await set("a", .object(["metadata": .object(["labels": .object(["on": .null])])]))
            try await set("a", ["data": ["a": "3"]])
            _ = try await scene.kubectl.request("DELETE", "\(scene.core)/configmaps/b")
            let version = first["metadata"]["resourceVersion"].string ?? ""
            let events = try await scene.kubectl.watch(
                "\(scene.core)/configmaps?watch=true&labelSelector=on%3Dyes&timeoutSeconds=20&resourceVersion=\(version)",
                first: 4)
            #expect(words(events) == ["ADDED b", "MODIFIED b", "DELETED a", "DELETED b"])
            #expect(events[0]["object"]["kind"] == "ConfigMap" && events[0]["object"]["apiVersion"] == "v1")
            let versions = events.compactMap { $0["object"]["metadata"]["resourceVersion"].string.flatMap(Int.init) }
            #expect(versions == versions.sorted() && Set(versions).count == 4)
            // What leaves the selection is shown as it was while it still belonged to it.
            #expect(events[2]["object"]["metadata"]["labels"] == ["on": "yes"])
        }
    }

    @Test("without a version begin with what is there; with sendInitialEvents a bookmark says where that ends")
    func initialEvents() async throws {
        try await Scene.run { scene in
            try await scene.create(scene.configMap("a", labels: ["t": "x"]))
            try await scene.create(scene.configMap("b", labels: ["t": "x"]))
            let path = "\(scene.core)/configmaps?watch=true&labelSelector=t%3Dx&timeoutSeconds=20"
            #expect(words(try await scene.kubectl.watch(path, first: 2)).sorted() == ["ADDED a", "ADDED b"])
            let events = try await scene.kubectl.watch(
                path + "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", first: 3)
            #expect(words(events).sorted() == ["ADDED a", "ADDED b", "BOOKMARK -"])
            #expect(
                events.last?["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true")
            let refused = try await scene.kubectl.request("GET", path + "&sendInitialEvents=true")
            #expect(refused.code == 422)
        }
    }

    @Test("end in order after timeoutSeconds, with a last bookmark for those who allow it")
    func timeout() async throws {
        try await Scene.runStandIn { scene, server in
            let events = try await scene.kubectl.watch(
                "\(scene.core)/configmaps?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion="
                    + "\(server.resourceVersion)", first: 100)
            #expect(words(events) == ["BOOKMARK -"])
            #expect(
                events[0]["object"]["metadata"]["resourceVersion"].string == String(server.resourceVersion))
        }
    }

    @Test("a version that is forgotten is 410 at the start, and an ERROR event for a watch that has fallen behind")
    func tooOld() async throws {
        try await Scene.runStandIn { scene, server in
            let old = server.resourceVersion
            try await scene.create(scene.configMap("a"))
            let path = "\(scene.core)/configmaps?watch=true&timeoutSeconds=20&resourceVersion="
            async let events = scene.kubectl.watch(path + "\(server.resourceVersion)", first: 100)
            #expect(await server.wait { $0.watchCount >= 1 })
            // The change and its loss are one: no watch can have read it between them.
            server.changeAndCompact(.configMaps, scene.namespace, "a")
            let seen = try await events
            #expect(seen.last?["type"] == "ERROR")
            #expect(seen.last?["object"]["code"] == 410 && seen.last?["object"]["reason"] == "Expired")
            let refused = try await scene.kubectl.request("GET", path + "\(old)")
            #expect(refused.code == 410 && refused.reason == "Expired")
            #expect(refused.message.hasPrefix("too old resource version"))
        }
    }

    @Test("who goes away while nothing happens is forgotten")
    func goesAway() async throws {
        try await Scene.runStandIn { scene, server in
            let reply = try await scene.kubectl.request(
                "GET", "\(scene.core)/configmaps?watch=true&resourceVersion=\(server.resourceVersion)", seconds: 3)
            #expect(reply.code == 200 && reply.body.isEmpty)
            #expect(
                await server.wait { server in server.requests.contains { $0.verb == "watch" } && server.watchCount == 0
                })
        }
    }
}
