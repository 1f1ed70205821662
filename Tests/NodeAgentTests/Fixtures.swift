import IPAddressing
import LinuxNetworking
import MeshFile
import MeshState
import Redirection
import SPIFFE
import Synchronization
import Testing

@testable import NodeAgent

func pod(
    _ uid: String,
    namespace: String = "shop",
    serviceAccount: String = "default",
    node: String = "node-a",
    address: String? = nil,
    netns: String?? = .none,
    labels: [String: String] = [:],
    exclusions: PodExclusions = PodExclusions()
) throws -> ClusterState.Pod {
    let address = try #require(IPAddress(address ?? "10.0.0.1"))
    return ClusterState.Pod(
        uid: uid, name: uid, namespace: namespace, serviceAccount: serviceAccount, node: node, addresses: [address],
        netns: netns ?? "/run/netns/\(uid)", labels: labels, exclusions: exclusions)
}

/// Namespace `shop` is enrolled, `open` is not.
func cluster(_ pods: ClusterState.Pod..., services: [Service] = []) throws -> ClusterState {
    ClusterState(
        trustDomain: try TrustDomain("culvert.demo"),
        enrolmentLabel: MeshFile.defaultEnrolmentLabel,
        namespaces: ["shop": [MeshFile.defaultEnrolmentLabel: "true"], "open": [:]],
        pods: pods,
        services: services)
}

func namespaceID(_ inode: UInt64) -> NamespaceID { NamespaceID(device: 4, inode: inode) }

struct Refused: Error, CustomStringConvertible {
    let description: String
}

/// Everything that an agent does to its surroundings, in order, as one list of short lines.
final class Journal: Sendable {
    private let entries = Mutex<[String]>([])

    var lines: [String] { entries.withLock { $0 } }
    func note(_ line: String) { entries.withLock { $0.append(line) } }

    /// Waits until a line is there, for ten seconds at most.
    func waits(for line: String, count: Int = 1) async -> Bool {
        for _ in 0..<2000 {
            if lines.count(where: { $0 == line }) >= count { return true }
            try? await Task.sleep(for: .milliseconds(5))
        }
        return false
    }
}

/// Namespaces that are all this process's own, told apart by their paths only.
final class ScriptedNamespaces: PodNamespaces {
    private let missing = Mutex<Set<String>>([])
    private let present: Set<IPAddress>

    init(holding address: String = "10.0.0.1") throws {
        present = [try #require(IPAddress(address))]
    }

    func vanish(_ path: String) { missing.withLock { _ = $0.insert(path) } }
    func appear(_ path: String) { missing.withLock { _ = $0.remove(path) } }

    func id(at path: String) -> NamespaceID? {
        guard !missing.withLock({ $0.contains(path) }) else { return nil }
        return (try? NetworkNamespace.current()).map(NamespaceID.init)
    }

    func open(path: String) throws -> NetworkNamespace {
        guard id(at: path) != nil else { throw Refused(description: "no namespace at \(path)") }
        return try NetworkNamespace.current()
    }

    func addresses(in namespace: NetworkNamespace) throws -> Set<IPAddress> { present }
}

/// Keeps its records as a real one does, and fails when told to.
final class ScriptedRedirector: PodRedirector {
    private struct State {
        var records: [String: PodRecord] = [:]
        var bypassed: Set<String> = []
        var failures: [String: String] = [:]
        var drifts: [String: [String]] = [:]
        var proxied: [String: Int] = [:]
    }

    private let state: Mutex<State>
    private let journal: Journal

    init(_ journal: Journal, recorded: [PodRecord] = []) {
        self.journal = journal
        state = Mutex(State(records: Dictionary(uniqueKeysWithValues: recorded.map { ($0.uid, $0) })))
    }

    /// `step` is `install`, `reset`, `release` or `remove`; nil mends it.
    func fail(_ step: String, _ uid: String, _ reason: String?) {
        state.withLock { $0.failures["\(step) \(uid)"] = reason }
    }

    private func act(_ step: String, _ uid: String) throws {
        let failure = state.withLock { $0.failures["\(step) \(uid)"] }
        journal.note(failure == nil ? "\(step) \(uid)" : "\(step) \(uid) fails")
        if let failure { throw Refused(description: failure) }
    }

    func records() throws -> [PodRecord] { state.withLock { Array($0.records.values) } }

    func record(uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws {}

    func install(
        uid: String, netns path: String, in namespace: NetworkNamespace, plan: RedirectionPlan
    ) throws -> Bool {
        try act("install", uid)
        return state.withLock { state in
            let isNew = state.records[uid] == nil
            state.records[uid] = PodRecord(uid: uid, netns: path, namespace: NamespaceID(namespace))
            if isNew { state.bypassed.insert(uid) }
            return state.bypassed.contains(uid)
        }
    }

    func resetConnections(uid: String, in namespace: NetworkNamespace, plan: RedirectionPlan) throws -> Int {
        try act("reset", uid)
        state.withLock { _ = $0.bypassed.remove(uid) }
        return 1
    }

    func drift(uid: String, in namespace: NetworkNamespace) throws -> [String] {
        state.withLock { $0.drifts.removeValue(forKey: uid) } ?? []
    }

    /// Once.
    func drift(_ uid: String, _ missing: [String]) { state.withLock { $0.drifts[uid] = missing } }

    func release(uid: String, from namespace: NetworkNamespace) throws {
        try act("release", uid)
        state.withLock { _ = $0.bypassed.insert(uid) }
    }

    func proxiedConnections(uid: String, in namespace: NetworkNamespace) throws -> Int {
        state.withLock { $0.proxied[uid] ?? 0 }
    }

    /// What the proxy has of a pod.
    func proxied(_ uid: String, _ count: Int) { state.withLock { $0.proxied[uid] = count } }

    func remove(uid: String, from namespace: NetworkNamespace?) throws {
        try act(namespace == nil ? "forget" : "remove", uid)
        state.withLock { $0.records[uid] = nil }
    }
}

struct JournalledHandoff: PodHandoff {
    let journal: Journal

    func add(_ pod: ClusterState.Pod, in namespace: NetworkNamespace) {
        journal.note("add \(pod.uid) as \(pod.serviceAccount)")
    }
    func remove(uid: String) { journal.note("delete \(uid)") }
    func settle() async { journal.note("settle") }
    func run() async throws {
        journal.note("serve pods")
        try await Task.sleep(for: .seconds(3600))
    }
}

/// Notes all that is published, after each change.
final class JournalledPublisher: MeshPublisher {
    let journal: Journal
    private let published = Mutex(MeshChange())

    init(journal: Journal) { self.journal = journal }

    func publish(_ change: MeshChange, since: ContinuousClock.Instant) {
        let workloads = published.withLock { mesh in
            mesh.merge(change)
            return mesh.workloads.values.compactMap(\.self)
        }
        let uids = workloads.map { $0.tunnelProtocol == .hbone ? "\($0.uid):hbone" : $0.uid }
        journal.note("publish " + uids.sorted().joined(separator: " "))
    }
    func run() async throws { try await Task.sleep(for: .seconds(3600)) }
}

/// Delivers what the test says, when it says so.
struct ScriptedSource: PodSource {
    private let states: AsyncStream<ClusterState>
    private let continuation: AsyncStream<ClusterState>.Continuation

    init() { (states, continuation) = AsyncStream.makeStream() }

    func deliver(_ cluster: ClusterState) { continuation.yield(cluster) }

    func follow(node: String, _ deliver: @Sendable (ClusterChange) async -> Void) async throws {
        var difference = ClusterDifference(node: node)
        for await state in states { await deliver(difference.change(to: state)) }
    }
}
