import Glibc
import KubernetesAPI
import Logging
import MeshAPI
import MeshFile
import MeshState
import SPIFFE
import Synchronization
import Testing

@testable import NodeAgent

/// How large the cluster is, and how busy. `Benchmarks/cluster` sets it in the environment.
private struct ClusterLoad {
    let pods = value("PODS", 300)
    let services = value("SERVICES", 60)
    let changesPerSecond = value("CHANGES", 100)
    let seconds = value("SECONDS", 2)
    static let podsPerNamespace = 100

    private static func value(_ name: String, _ normal: Int) -> Int {
        getenv("CULVERT_CLUSTER_\(name)").flatMap { Int(String(cString: $0)) } ?? normal
    }

    var podsPerService: Int { max(1, pods / services) }

    func namespace(ofPod pod: Int) -> String { "namespace-\(pod / Self.podsPerNamespace)" }
}

/// The objects of such a cluster, as an API server tells of them.
private struct LoadedCluster {
    let load: ClusterLoad
    /// How often each pod was replaced.
    private(set) var generations: [Int]

    init(_ load: ClusterLoad) {
        self.load = load
        generations = [Int](repeating: 0, count: load.pods)
    }

    func uid(_ pod: Int) -> String {
        let text = String(pod * 1000 + generations[pod] % 1000)
        return "2f1c7a52-9b0e-4c1d-8e55-" + String(repeating: "0", count: 12 - text.count) + text
    }

    func address(_ pod: Int) -> String {
        let value = (generations[pod] * load.pods + pod) % (1 << 22) + 1
        return "10.\(128 + value >> 16).\(value >> 8 & 255).\(value & 255)"
    }

    mutating func replace(_ pod: Int) { generations[pod] += 1 }

    func pod(_ number: Int) -> KubernetesAPI.Pod {
        KubernetesAPI.Pod(
            metadata: ObjectMeta(
                name: "web-5d4f8c7b9-\(number)", namespace: load.namespace(ofPod: number), uid: uid(number)),
            spec: PodSpec(nodeName: "node-\(number % 100)", serviceAccountName: "web"),
            status: PodStatus(phase: .running, podIPs: [address(number)]))
    }

    func pods(ofService service: Int) -> Range<Int> {
        let first = service * load.podsPerService
        return min(first, load.pods)..<min(first + load.podsPerService, load.pods)
    }

    func service(_ number: Int) -> KubernetesAPI.Service {
        KubernetesAPI.Service(
            metadata: ObjectMeta(
                name: "web-\(number)", namespace: load.namespace(ofPod: number * load.podsPerService)),
            spec: ServiceSpec(
                clusterIPs: ["10.96.\(number >> 8).\(number & 255)"],
                ports: [ServicePort(port: 80, targetPort: .number(8080))], selector: ["app": "web-\(number)"]))
    }

    func slice(_ number: Int) -> EndpointSlice {
        let namespace = load.namespace(ofPod: number * load.podsPerService)
        return EndpointSlice(
            metadata: ObjectMeta(
                name: "web-\(number)-x", namespace: namespace, labels: [EndpointSlice.serviceNameLabel: "web-\(number)"]
            ),
            endpoints: pods(ofService: number).map { pod in
                SliceEndpoint(
                    addresses: [address(pod)], ready: true, nodeName: "node-\(pod % 100)",
                    targetRef: ObjectReference(
                        kind: "Pod", namespace: namespace, name: "web-5d4f8c7b9-\(pod)", uid: uid(pod)))
            }, ports: [EndpointPort(port: 8080)])
    }
}

/// Delivers what the test says.
private struct LoadSource: PodSource {
    let changes: AsyncStream<ClusterChange>

    func follow(node: String, _ deliver: @Sendable (ClusterChange) async -> Void) async throws {
        for await change in changes { await deliver(change) }
    }
}

/// A proxy's mesh, and when it learnt of what the test waits for.
private final class LoadedProxy: Sendable {
    private struct State {
        var mesh = MeshSnapshot()
        var awaited: [String: ContinuousClock.Instant] = [:]
        var delays: [Duration] = []
    }

    private let state = Mutex(State())

    var mesh: MeshSnapshot { state.withLock(\.mesh) }
    var delays: [Duration] { state.withLock(\.delays) }
    func await(_ uid: String) { state.withLock { $0.awaited[uid] = .now } }

    func apply(_ update: MeshUpdate) {
        state.withLock { state in
            state.mesh = state.mesh.applying(update)
            for workload in update.upsertedWorkloads {
                if let since = state.awaited.removeValue(forKey: workload.uid) {
                    state.delays.append(ContinuousClock.now - since)
                }
            }
        }
    }
}

/// What this process has used.
private struct ProcessUse {
    let residentKiB: Int
    let processor: Duration

    init() {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        processor = [usage.ru_utime, usage.ru_stime].reduce(.zero) {
            $0 + .seconds($1.tv_sec) + .microseconds($1.tv_usec)
        }
        var resident = 0
        if let file = fopen("/proc/self/statm", "re") {
            var pages = [Int](repeating: 0, count: 2)
            var text = [CChar](repeating: 0, count: 128)
            if fgets(&text, 128, file) != nil {
                let numbers = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
                    .split(separator: " ").prefix(2).compactMap { Int($0) }
                if numbers.count == 2 { pages = numbers }
            }
            resident = pages[1] * 4
            fclose(file)
        }
        residentKiB = resident
    }
}

@Suite("A busy cluster", .timeLimit(.minutes(10)), .serialized)
struct ClusterLoadTests {
    private let load = ClusterLoad()

    private func loaded(_ cluster: LoadedCluster) throws -> KubernetesCluster {
        var model = KubernetesCluster(
            .init(
                node: "node-of-nobody", trustDomain: try TrustDomain("cluster.local"),
                enrolment: EnrolmentRule(label: MeshFile.defaultEnrolmentLabel)))
        for number in 0...load.pods / ClusterLoad.podsPerNamespace {
            model.update(
                Namespace(
                    metadata: ObjectMeta(
                        name: "namespace-\(number)", labels: [MeshFile.defaultEnrolmentLabel: "true"])))
        }
        for number in 0..<load.pods { model.update(cluster.pod(number)) }
        for number in 0..<load.services {
            model.update(cluster.service(number))
            model.update(cluster.slice(number))
        }
        return model
    }

    /// From the API's objects, through the agent, its discovery server and a Unix socket, to the proxy's snapshot. Times and memory are
    /// written down, not judged.
    @Test("every change reaches the proxy, and a proxy that comes back is told nothing that it knows")
    func load() async throws {
        let directory = try ScratchDirectory()
        let socket = directory.path + "/xds.sock"
        var figures: [(String, Double)] = [
            ("pods", Double(load.pods)), ("services", Double(load.services)),
            ("changes_per_second", Double(load.changesPerSecond)), ("seconds", Double(load.seconds)),
        ]
        func note(_ name: String, since: ContinuousClock.Instant) {
            figures.append((name, (ContinuousClock.now - since) / .milliseconds(1)))
        }
        let empty = ProcessUse()
        var cluster = LoadedCluster(load)
        var start = ContinuousClock.now
        var model = try loaded(cluster)
        let whole = model.takeChange()
        note("model_ms", since: start)

        let (changes, change) = AsyncStream.makeStream(of: ClusterChange.self)
        let publisher = DiscoveryMeshPublisher(socketPath: socket, logger: quietLogger)
        let journal = Journal()
        let agent = Agent(
            node: "node-of-nobody", source: LoadSource(changes: changes), namespaces: try ScriptedNamespaces(),
            redirector: ScriptedRedirector(journal), handoff: JournalledHandoff(journal: journal), publisher: publisher,
            onExit: .leave, logger: quietLogger)
        let proxy = LoadedProxy()
        let client = WorkloadDiscoveryClient(
            socketPath: socket, node: "node-of-nobody", trustDomain: try TrustDomain("cluster.local"),
            logger: quietLogger
        ) { proxy.apply($0) }
        try await agent.running { _ in
            start = .now
            change.yield(whole)
            #expect(await patiently { publisher.statistics?.resources == load.pods + load.services })
            note("first_publish_ms", since: start)
            let published = ProcessUse()
            figures.append(("agent_kib", Double(published.residentKiB - empty.residentKiB)))

            start = .now
            var following = Task { await client.run() }
            #expect(await patiently { client.status.isSynchronised }, "\(client.status)")
            note("first_synchronisation_ms", since: start)
            figures.append(("proxy_kib", Double(ProcessUse().residentKiB - published.residentKiB)))
            #expect(proxy.mesh.workloadCount == load.pods)

            let before = ProcessUse()
            start = .now
            for number in 0..<load.changesPerSecond * load.seconds {
                try? await Task.sleep(until: start + .seconds(1) * number / load.changesPerSecond, clock: .continuous)
                // A pod is replaced; then its service's endpoints follow.
                let pod = number / 2 % load.pods
                if number % 2 == 0 {
                    cluster.replace(pod)
                    proxy.await(cluster.uid(pod))
                    model.update(cluster.pod(pod))
                } else {
                    proxy.await(cluster.uid(pod))
                    model.update(cluster.slice(min(pod / load.podsPerService, load.services - 1)))
                }
                change.yield(model.takeChange())
            }
            let elapsed = ContinuousClock.now - start
            var newcomer = try loaded(cluster)
            let expected = newcomer.takeChange().mesh.workloads
            #expect(
                await patiently {
                    let mesh = proxy.mesh
                    return mesh.workloadCount == load.pods
                        && expected.allSatisfy { mesh.workload(uid: $0.key) == $0.value }
                })
            let after = ProcessUse()
            figures.append(("processor_share", (after.processor - before.processor) / elapsed))
            figures.append(("grown_kib", Double(after.residentKiB - before.residentKiB)))
            let delays = proxy.delays.sorted()
            #expect(!delays.isEmpty)
            for (name, share) in [("p50_ms", 50), ("p99_ms", 99)] where !delays.isEmpty {
                figures.append((name, delays[(delays.count - 1) * share / 100] / .milliseconds(1)))
            }

            following.cancel()
            await following.value
            let sent = publisher.statistics?.resourcesSent ?? 0
            let streams = publisher.statistics?.acknowledged ?? 0
            start = .now
            following = Task { await client.run() }
            #expect(await patiently { publisher.statistics?.acknowledged ?? 0 >= streams + 2 })
            note("reconnection_ms", since: start)
            #expect(publisher.statistics?.resourcesSent == sent)
            #expect(publisher.statistics?.refused == 0)
            following.cancel()
            await following.value
        }
        try report(figures)
    }

    private func patiently(_ condition: () -> Bool) async -> Bool {
        let end = ContinuousClock.now + .seconds(240)
        while ContinuousClock.now < end {
            if condition() { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return condition()
    }

    private func report(_ figures: [(String, Double)]) throws {
        let text =
            "{" + figures.map { "\"\($0)\": \(($1 * 100).rounded() / 100)" }.joined(separator: ", ") + "}\n"
        guard let path = getenv("CULVERT_CLUSTER_RESULT") else { return }
        let file = try #require(fopen(path, "we"))
        fputs(text, file)
        fclose(file)
    }
}
