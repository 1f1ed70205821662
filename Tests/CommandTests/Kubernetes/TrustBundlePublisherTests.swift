import FoundationEssentials
import KubernetesAPI
import KubernetesKit
import NamespaceKit
import SPIFFE
import Synchronization
import Testing

@testable import culvert

@Suite("Replicas that keep the same trust bundle ConfigMaps", .timeLimit(.minutes(2)))
struct TrustBundlePublisherTests {
    private static let name = "culvert-trust-bundle"

    /// A replica that knows a bundle of that sequence, and has seen what is in the cluster now.
    private struct Replica {
        let publisher: TrustBundlePublisher
        var placement = BundlePlacement(name: name, home: "culvert-system")

        init(_ instance: String, sequence: UInt64, _ client: KubernetesClient) async throws {
            publisher = TrustBundlePublisher(
                client: client, name: name, home: "culvert-system", instance: instance, logger: AuthorityRig.silent)
            placement.content = .init(pem: "PEM \(sequence)", jwks: "{}", sequence: sequence)
            placement.enrolled = []
            placement.take(.synced(try await client.list(ConfigMap.self, .named(name)).items))
        }

        /// Does what seemed right when it looked.
        func act() async throws {
            for step in placement.steps { try await publisher.perform(step) }
        }
    }

    private static func running(_ body: (APIServer, KubernetesClient) async throws -> Void) async throws {
        let server = try await APIServer.start()
        let file = try TestNetwork.makeDirectory("bundle") + "/kubeconfig"
        try server.kubeconfig().write(toFile: file, atomically: true, encoding: .utf8)
        let client = KubernetesClient(
            try ClusterConfiguration.load(kubeconfig: file, environment: [:]), userAgent: "culvert/test")
        try server.create(.namespaces, ["metadata": ["name": "culvert-system"]])
        do { try await body(server, client) } catch { Issue.record(error) }
        await server.stop()
        _ = TestNetwork.shell("rm -rf \(file.dropLast("/kubeconfig".count))")
    }

    private static func pem(_ server: APIServer) -> String? {
        server.get(.configMaps, "culvert-system", name)?["data"]["bundle.pem"].string
    }

    @Test(
        "the older one's write comes too late, whether there was a ConfigMap when it looked or not",
        arguments: [false, true])
    func late(isThere: Bool) async throws {
        try await Self.running { server, client in
            if isThere { try await Replica("culvert-ca-2", sequence: 6, client).act() }
            let older = try await Replica("culvert-ca-0", sequence: 7, client)
            let newer = try await Replica("culvert-ca-1", sequence: 8, client)
            #expect(older.placement.steps.count == 1 && newer.placement.steps.count == 1)
            try await newer.act()
            try await older.act()
            #expect(server.requests.last?.code == 409)
            #expect(Self.pem(server) == "PEM 8")
            #expect(try await Replica("culvert-ca-0", sequence: 7, client).placement.steps.isEmpty, "it gives way")
        }
    }

    @Test("the newer one's write that comes second is made when it has seen the first")
    func second() async throws {
        try await Self.running { server, client in
            let older = try await Replica("culvert-ca-0", sequence: 7, client)
            let newer = try await Replica("culvert-ca-1", sequence: 8, client)
            try await older.act()
            try await newer.act()
            #expect(Self.pem(server) == "PEM 7", "unseen, so not replaced")
            try await Replica("culvert-ca-1", sequence: 8, client).act()
            #expect(Self.pem(server) == "PEM 8")
        }
    }

    @Test(
        "two at work while bundles follow each other: nobody sees an older one after a newer, and one goes on without the other"
    )
    func together() async throws {
        try await Self.running { server, client in
            let domain = try TrustDomain("td.test")
            let bundles = (0..<2).map { _ in AsyncStream.makeStream(of: TrustBundle.self) }
            let work = bundles.enumerated().map { index, bundles in
                let publisher = TrustBundlePublisher(
                    client: client, name: Self.name, home: "culvert-system", instance: "culvert-ca-\(index)",
                    logger: AuthorityRig.silent)
                return Task { await publisher.run(bundles: bundles.stream, enrolled: AsyncStream { $0.finish() }) }
            }
            let seen = Mutex<[Int]>([])
            let watch = Task {
                await Informer(ConfigMap.self, of: client, selection: .named(Self.name)).run { event in
                    guard case .changed(let changes) = event else { return }
                    let sequences = changes.compactMap { $0.object.metadata.annotations[BundlePlacement.sequenceKey] }
                    seen.withLock { $0 += sequences.compactMap { Int($0) } }
                }
            }
            defer { for task in work + [watch] { task.cancel() } }
            @Sendable func isThere(_ sequence: Int) async -> Bool {
                await server.wait(for: .configMaps, "culvert-system", Self.name) {
                    $0?["metadata"]["annotations"][BundlePlacement.sequenceKey].string == "\(sequence)"
                }
            }
            func tell(_ replica: Int, _ sequence: Int) throws {
                bundles[replica].continuation.yield(
                    try TrustBundle(trustDomain: domain, authorities: [], sequence: UInt64(sequence)))
            }
            for round in 1...20 {
                // Each of them looks at the same state, and one knows more than the other.
                try tell(round % 2, 2 * round)
                try tell((round + 1) % 2, 2 * round + 1)
                #expect(await isThere(2 * round + 1))
            }
            work[1].cancel()
            await work[1].value
            try tell(0, 50)
            #expect(await isThere(50))
            #expect(await eventually { seen.withLock { $0.last } == 50 })
            let sequences = seen.withLock { $0 }
            #expect(sequences == sequences.sorted(), "\(sequences)")
        }
    }

    @Test(
        "two that write the same at once do not disturb each other, and a stranger's of that name is not taken over unseen"
    )
    func same() async throws {
        try await Self.running { server, client in
            let (one, two) = (
                try await Replica("culvert-ca-0", sequence: 7, client),
                try await Replica("culvert-ca-1", sequence: 7, client)
            )
            try await one.act()
            try await two.act()
            #expect(server.requests.suffix(2).map(\.code) == [201, 200])
            #expect(Self.pem(server) == "PEM 7")
            try server.delete(.configMaps, "culvert-system", Self.name)
            _ = try await client.create(
                ConfigMap(
                    metadata: ObjectMeta(name: Self.name, namespace: "culvert-system"), data: ["bundle.pem": "mine"]))
            try await one.act()
            #expect(Self.pem(server) == "mine")
        }
    }
}
