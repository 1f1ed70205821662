public import LinuxNetworking
public import Logging
import MeshAPI
import Synchronization

/// Hands pods over by ZDS.
public final class ZDSPodHandoff: PodHandoff {
    private let server: ZDSServer
    private let removed: RemovedPods

    /// Makes the socket. A proxy for which `refusal` has a reason is given no pods.
    public init(
        socketPath: String, logger: Logger, refusal: @escaping @Sendable (_ pid: Int32) -> String? = { _ in nil }
    ) throws {
        let removed = RemovedPods()
        self.removed = removed
        server = try ZDSServer(
            path: socketPath, logger: logger, onAcknowledged: { uid, _ in removed.acknowledged(uid) },
            refusal: { refusal($0.pid) })
    }

    public func isServed(uid: String) -> Bool { server.isServed(uid: uid) }

    public var proxies: [AgentReport.Proxy] {
        server.clients.map { AgentReport.Proxy(pid: $0.pid, refusal: $0.refusal) }
    }

    public func add(_ pod: ClusterState.Pod, in namespace: NetworkNamespace) throws {
        removed.acknowledged(pod.uid)
        let info = ZDSWorkloadInfo(name: pod.name, namespace: pod.namespace, serviceAccount: pod.serviceAccount)
        try server.add(uid: pod.uid, info: info, namespace: namespace)
    }

    public func remove(uid: String) {
        removed.insert(uid)
        server.delete(uid: uid)
    }

    public func settle() async {
        let deadline = ContinuousClock.now + .seconds(2)
        while server.connectionCount > 0, !removed.isEmpty, .now < deadline {
            guard (try? await Task.sleep(for: .milliseconds(10))) != nil else { break }
        }
        // Whoever did not answer by now is told again with the snapshot of its next connection.
        removed.clear()
    }

    public func run() async throws { try await server.run() }
}

/// Pods that proxies have yet to let go of.
private final class RemovedPods: Sendable {
    private let uids = Mutex<Set<String>>([])

    var isEmpty: Bool { uids.withLock(\.isEmpty) }
    func insert(_ uid: String) { uids.withLock { _ = $0.insert(uid) } }
    func acknowledged(_ uid: String) { uids.withLock { _ = $0.remove(uid) } }
    func clear() { uids.withLock { $0.removeAll() } }
}
