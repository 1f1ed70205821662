import KubernetesKit
import Testing

@Suite("Faults on demand", .enabled(if: standInIsThere))
struct FaultTests {
    @Test("so many requests are refused with 429 or 500, then all is as before")
    func refusals() async throws {
        try await Scene.runStandIn { scene, server in
            server.faults.add(Fault(.refuse(code: 429, retryAfter: 7), times: 1, verb: "list", resource: "pods"))
            server.faults.add(Fault(.refuse(code: 500), times: 1, resource: "pods"))
            let path = "\(scene.core)/pods"
            let busy = try await scene.kubectl.request("GET", path)
            #expect(busy.code == 429 && busy.headers["retry-after"] == "7" && busy.reason == "TooManyRequests")
            #expect(busy.json["details"]["retryAfterSeconds"] == 7)
            #expect(try await scene.kubectl.request("GET", path).code == 500)
            #expect(try await scene.kubectl.request("GET", path).code == 200)
        }
    }

    @Test("a request is held until it is let go; connections are closed before and within an answer")
    func connections() async throws {
        try await Scene.runStandIn { scene, server in
            try await scene.create(scene.configMap("a"))
            let path = "\(scene.core)/configmaps"
            server.faults.add(Fault(.stall, resource: "configmaps"))
            async let held = scene.kubectl.request("GET", path)
            #expect(await server.wait { $0.faults.stalledCount == 1 })
            server.faults.clear()
            #expect(try await held.code == 200)
            server.faults.add(Fault(.cutBody, times: 1, resource: "configmaps"))
            let cut = try await scene.kubectl.request("GET", path)
            #expect(cut.code == 200 && cut.json == .null && !cut.body.isEmpty)
            server.faults.add(Fault(.close, times: 1, resource: "configmaps"))
            #expect(try await scene.kubectl.request("GET", path).code == 0)
            #expect(try await scene.kubectl.request("GET", path).code == 200)
        }
    }

    @Test("watches are ended, or cut off within an event")
    func watches() async throws {
        try await Scene.runStandIn { scene, server in
            let path = "\(scene.core)/configmaps?watch=true&timeoutSeconds=30&resourceVersion=\(server.resourceVersion)"
            async let events = scene.kubectl.request("GET", path)
            #expect(await server.wait { $0.watchCount == 1 })
            try await scene.create(scene.configMap("a"))
            server.endWatches()
            let ended = try await events.body
            #expect(ended.hasSuffix("}\n") && ended.split(separator: "\n").count == 1)
            async let more = scene.kubectl.request("GET", path)
            #expect(await server.wait { $0.watchCount == 1 })
            server.cutWatches()
            #expect(try await more.body.hasSuffix("{\"type\":\"MODIFIED\",\"object\":{\"kind\":"))
        }
    }

    @Test("the server goes away and comes back on its port with what it had")
    func suspension() async throws {
        try await Scene.runStandIn { scene, server in
            try await scene.create(scene.configMap("a"))
            await server.suspend()
            #expect(try await scene.kubectl.request("GET", "\(scene.core)/configmaps/a").code == 0)
            try await server.resume()
            #expect(try await scene.kubectl.request("GET", "\(scene.core)/configmaps/a").code == 200)
        }
    }

    @Test("ten thousand pods are there at once, and change at a rate that is asked for")
    func load() async throws {
        try await Scene.runStandIn { scene, server in
            try server.addPods(10_000, namespace: scene.namespace, nodes: 100)
            let page = try await scene.kubectl.request("GET", "\(scene.core)/pods?limit=500").json
            #expect(page["items"].array?.count == 500 && page["metadata"]["remainingItemCount"] == 9_500)
            let addresses = Set(
                server.list(.pods, namespace: scene.namespace).compactMap { $0["status"]["podIP"].string })
            #expect(addresses.count == 10_000)
            let before = server.resourceVersion
            try await server.changePods(namespace: scene.namespace, count: 100, perSecond: 1_000)
            #expect(server.resourceVersion == before + 100)
        }
    }
}
