import FoundationEssentials
import KubernetesAPI
import KubernetesKit
import Logging
import Synchronization
import Testing

/// A cluster, and clients of it.
struct Cluster {
    let server: APIServer
    let client: KubernetesClient

    static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    static func running(
        login: APIServer.Login = .administrator, _ change: (inout KubernetesClient.Limits) -> Void = { _ in },
        _ body: (Cluster) async throws -> Void
    ) async throws {
        let server = try await APIServer.start()
        do {
            try await body(Cluster(server: server, client: client(of: server, login: login, change)))
        } catch {
            Issue.record(error)
        }
        await server.stop()
    }

    static func client(
        of server: APIServer, login: APIServer.Login, _ change: (inout KubernetesClient.Limits) -> Void = { _ in }
    ) throws -> KubernetesClient {
        let path = "/tmp/culvert-cluster-\(UInt64.random(in: 0...UInt64.max)).yaml"
        try Data(server.kubeconfig(login).utf8).write(to: URL(filePath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        var limits = KubernetesClient.Limits()
        change(&limits)
        return KubernetesClient(
            try ClusterConfiguration.load(kubeconfig: path, environment: [:]), userAgent: "culvert/test",
            limits: limits)
    }

    func namespace(_ name: String, labels: [String: String] = [:]) throws {
        try server.create(
            .namespaces,
            ["metadata": ["name": .string(name), "labels": .object(labels.mapValues { .string($0) })]])
    }
}

/// What an informer has told, as a set of names, and a way to wait for it.
final class Followed<Object: KubernetesObject>: Sendable {
    private let state = Mutex<(objects: [ObjectKey: Object], isSynced: Bool)>(([:], false))
    private let changes = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

    var names: Set<String> { state.withLock { Set($0.objects.keys.map(\.name)) } }
    subscript(_ name: String) -> Object? { state.withLock { $0.objects.first { $0.key.name == name }?.value } }

    func take(_ event: InformerEvent<Object>) {
        state.withLock { state in
            switch event {
            case .synced(let all):
                #expect(!state.isSynced, "told once")
                state.isSynced = true
                for object in all { state.objects[object.key] = object }
            case .changed(let changes):
                #expect(state.isSynced, "nothing is told before the first list")
                for change in changes {
                    switch change {
                    case .added(let object):
                        #expect(state.objects.updateValue(object, forKey: object.key) == nil)
                    case .modified(let old, let new):
                        #expect(state.objects.updateValue(new, forKey: new.key) == old)
                    case .deleted(let object):
                        #expect(state.objects.removeValue(forKey: object.key) != nil)
                    }
                }
            case .interrupted, .resumed: break
            }
        }
        changes.continuation.yield()
    }

    /// Waits until it is true; the suite's time limit ends a wait for what never comes.
    func until(_ condition: (Followed) -> Bool) async {
        guard !condition(self) else { return }
        for await _ in changes.stream where condition(self) { return }
    }

    static func following(
        _ informer: Informer<Object>, _ body: (Followed) async throws -> Void
    ) async throws {
        let followed = Followed()
        let task = Task { await informer.run { followed.take($0) } }
        defer { task.cancel() }
        try await body(followed)
        task.cancel()
        await task.value
    }
}

@Suite("Against an API server", .timeLimit(.minutes(3)))
struct ClusterTests {
    @Test("objects are made, read, changed and taken away; whoever is late is told so")
    func objects() async throws {
        try await Cluster.running { cluster in
            try cluster.namespace("shop")
            let client = cluster.client
            let made = try await client.create(
                ConfigMap(metadata: ObjectMeta(name: "a", namespace: "shop"), data: ["k": "v"]))
            #expect(!made.metadata.uid.isEmpty && !made.metadata.resourceVersion.isEmpty)
            #expect(try await client.get(ConfigMap.self, name: "a", namespace: "shop") == made)
            await expect(.alreadyExists) {
                _ = try await client.create(ConfigMap(metadata: ObjectMeta(name: "a", namespace: "shop"), data: [:]))
            }
            var next = made
            next.data = ["k": "w"]
            let changed = try await client.update(next)
            #expect(changed.data == ["k": "w"])
            await expect(.conflict) { _ = try await client.update(next) }
            let patched = try await client.patch(
                ConfigMap.self, name: "a", namespace: "shop", .merge(["data": ["k": nil, "l": "x"]]))
            #expect(patched.data == ["l": "x"])
            await expect(.conflict) {
                try await client.delete(ConfigMap.self, name: "a", namespace: "shop", uid: "another")
            }
            try await client.delete(ConfigMap.self, name: "a", namespace: "shop", uid: made.metadata.uid)
            await expect(.notFound) { _ = try await client.get(ConfigMap.self, name: "a", namespace: "shop") }
            await expect(.invalid) {
                _ = try await client.create(ConfigMap(metadata: ObjectMeta(name: "A_", namespace: "shop"), data: [:]))
            }
            #expect(try await client.serverVersion().hasPrefix("v1."))
        }
    }

    @Test("server-side apply makes, keeps to its own fields, and is refused another manager's unless it insists")
    func apply() async throws {
        try await Cluster.running { cluster in
            try cluster.namespace("shop")
            let client = cluster.client
            func apply(_ value: String, by manager: String, force: Bool) async throws -> ConfigMap {
                let map = ConfigMap(metadata: ObjectMeta(name: "a", namespace: "shop"), data: ["k": value])
                return try await client.patch(
                    ConfigMap.self, name: "a", namespace: "shop", .apply(map, manager: manager, force: force))
            }
            #expect(try await apply("1", by: "one", force: false).data == ["k": "1"])
            await expect(.conflict) { _ = try await apply("2", by: "two", force: false) }
            #expect(try await apply("2", by: "two", force: true).data == ["k": "2"])
        }
    }

    @Test("a pod's condition is patched in its status, beside the others")
    func status() async throws {
        try await Cluster.running { cluster in
            try cluster.namespace("shop")
            try cluster.server.create(.pods, Self.pod("a"))
            for type in ["culvert.dev/Enrolled", "culvert.dev/Other", "culvert.dev/Enrolled"] {
                let condition = Condition(
                    type: type, status: "True", reason: "Captured",
                    lastTransitionTime: Timestamp(seconds: Date(timeIntervalSince1970: 0)))
                try await cluster.client.patch(
                    Pod.self, name: "a", namespace: "shop", subresource: "status",
                    .strategicMerge(["status": ["conditions": [condition.json]]]))
            }
            let pod = try await cluster.client.get(Pod.self, name: "a", namespace: "shop")
            #expect(pod.status.condition("culvert.dev/Enrolled")?.isTrue == true)
            #expect(pod.status.condition("culvert.dev/Other")?.isTrue == true)
        }
    }

    @Test("pages of a list are of one moment, and a forgotten moment is listed from anew")
    func pages() async throws {
        try await Cluster.running { limits in
            limits.pageItems = 3
        } _: { cluster in
            for number in 0..<10 { try cluster.namespace("n\(number)") }
            let list = try await cluster.client.list(Namespace.self)
            #expect(Set(list.items.map(\.name)).isSuperset(of: (0..<10).map { "n\($0)" }))
            #expect(cluster.server.requests.filter { $0.resource == "namespaces" }.count == 5)
        }
    }

    @Test("an informer follows through ended and cut watches, forgotten history and a server that is away")
    func informer() async throws {
        try await Cluster.running { cluster in
            let server = cluster.server
            try cluster.namespace("a", labels: ["x": "1"])
            let informer = Informer(
                Namespace.self, of: cluster.client, selection: Selection(labels: "x=1"),
                sleep: { _ in try await Task.sleep(for: .milliseconds(10)) })
            try await Followed.following(informer) { followed in
                await followed.until { $0.names == ["a"] }
                try cluster.namespace("b", labels: ["x": "1"])
                try cluster.namespace("unseen")
                await followed.until { $0.names == ["a", "b"] }
                server.endWatches()
                try cluster.namespace("c", labels: ["x": "1"])
                await followed.until { $0.names == ["a", "b", "c"] }
                server.cutWatches()
                try cluster.namespace("d", labels: ["x": "1"])
                await followed.until { $0.names == ["a", "b", "c", "d"] }
                // Leaves the selection by a change of its label.
                try server.update(.namespaces, "", "b") { $0["metadata"]["labels"] = ["x": "2"] }
                await followed.until { $0.names == ["a", "c", "d"] }
                await server.suspend()
                try server.update(.namespaces, "", "c") { $0["metadata"]["labels"] = ["x": "2"] }
                try cluster.namespace("e", labels: ["x": "1"])
                server.compact()
                try await server.resume()
                await followed.until { $0.names == ["a", "d", "e"] }
                server.sendBookmarks()
                server.faults.add(Fault(.refuse(code: 429, retryAfter: 0), times: 3, resource: "namespaces"))
                server.endWatches()
                try server.update(.namespaces, "", "a") { $0["metadata"]["annotations"] = ["seen": "yes"] }
                await followed.until { $0["a"]?.metadata.annotations["seen"] == "yes" }
            }
        }
    }

    @Test("a service account's token is read again when the server refuses it")
    func tokens() async throws {
        let directory = "/tmp/culvert-token-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try await Cluster.running { cluster in
            let server = cluster.server
            server.addToken("good", for: User(name: "kubernetes-admin", groups: ["system:masters"]))
            let path = directory + "/token"
            try Data("bad".utf8).write(to: URL(filePath: path))
            let client = try Cluster.client(of: server, login: .tokenFile(path))
            await expect(.unauthorized) { _ = try await client.get(Namespace.self, name: "default") }
            try Data("good".utf8).write(to: URL(filePath: path))
            #expect(try await client.get(Namespace.self, name: "default").name == "default")
        }
    }

    @Test("a server with another certificate is not talked to")
    func wrongServer() async throws {
        try await Cluster.running { cluster in
            let other = try await APIServer.start()
            var configuration = cluster.client.configuration
            configuration.server = other.url
            let client = KubernetesClient(configuration, userAgent: "culvert/test")
            let error = await #expect(throws: KubernetesError.self) {
                try await client.get(Namespace.self, name: "default")
            }
            guard case .unreachable = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(other.requests.isEmpty)
            await other.stop()
        }
    }

    @Test("what happens again is one Event with a count")
    func events() async throws {
        try await Cluster.running { cluster in
            try cluster.namespace("shop")
            let pod = try cluster.server.create(.pods, Self.pod("a"))
            let recorder = EventRecorder(
                client: cluster.client, component: "culvert-test", instance: "node-1", now: { Date() },
                logger: Cluster.silent)
            let run = Task { await recorder.run() }
            defer { run.cancel() }
            let uid = pod["metadata"]["uid"].string ?? ""
            let reference = ObjectReference(kind: "Pod", namespace: "shop", name: "a", uid: uid)
            for _ in 0..<3 { recorder.record(.warning, "CaptureFailed", on: reference, "no veth") }
            #expect(
                await cluster.server.wait { server in
                    server.list(.coreEvents, namespace: "shop").first?["count"].integer == 3
                })
            let events = cluster.server.list(.coreEvents, namespace: "shop")
            #expect(events.count == 1)
            #expect(events.first?["involvedObject"]["uid"].string == uid)
            #expect(events.first?["type"].string == "Warning")
        }
    }

    private static func pod(_ name: String) -> JSON {
        [
            "metadata": ["name": .string(name), "namespace": "shop"],
            "spec": ["nodeName": "node-1", "containers": [["name": "c", "image": "i"]]],
        ]
    }

    private func expect(
        _ reason: KubernetesError.Refusal.Reason, line: SourceLocation = #_sourceLocation,
        _ body: () async throws -> Void
    ) async {
        let error = await #expect(throws: KubernetesError.self, sourceLocation: line) { try await body() }
        #expect(error?.reason == reason, "\(String(describing: error))", sourceLocation: line)
    }
}
