import Authority
import KubernetesAPI
import Logging
import Synchronization

/// A registry that has to be kept while the authority serves.
protocol FollowingPodRegistry: PodRegistry {
    /// Until its task is cancelled.
    func run() async
    /// Why nothing can be decided yet; nil when it can.
    var obstacle: String? { get }
}

/// The cluster's pods, as its API server tells of them. What was known stays known while the API server is away.
final class KubernetesPodRegistry: FollowingPodRegistry {
    private let client: KubernetesClient
    private let enrolment: EnrolmentRule
    private let logger: Logger
    private let state: Mutex<State>
    private let namespaces: (stream: AsyncStream<Set<String>>, continuation: AsyncStream<Set<String>>.Continuation)

    private struct State {
        var pods: ClusterPods
        var missing: Set<String> = ["namespaces", "pods"]
        /// Why each kind cannot be read, while it was never read.
        var reasons: [String: String] = [:]
    }

    init(client: KubernetesClient, enrolment: EnrolmentRule, logger: Logger) {
        self.client = client
        self.enrolment = enrolment
        self.logger = logger
        state = Mutex(State(pods: ClusterPods(enrolment: enrolment)))
        namespaces = AsyncStream.makeStream(of: Set<String>.self, bufferingPolicy: .bufferingNewest(1))
    }

    /// The enrolled namespaces, now and whenever they change; for one reader.
    var enrolledNamespaces: AsyncStream<Set<String>> { namespaces.stream }

    func pod(uid: String) -> RegisteredPod? { state.withLock { $0.pods.pod(uid: uid) } }

    func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod? {
        state.withLock { $0.pods.pod(on: node, namespace: namespace, serviceAccount: serviceAccount) }
    }

    func reference(uid: String) -> ObjectReference? { state.withLock { $0.pods.reference(uid: uid) } }

    var obstacle: String? {
        state.withLock { state in
            guard !state.missing.isEmpty else { return nil }
            let reasons = state.missing.sorted().map { kind in
                state.reasons[kind].map { "\(kind): \($0)" } ?? kind
            }
            return "the cluster's pods are not known yet (\(reasons.joined(separator: "; ")))"
        }
    }

    func run() async {
        let rule = enrolment
        let namespaces = Informer(Namespace.self, of: client) { ClusterPods.trim(&$0, rule) }
        let pods = Informer(Pod.self, of: client) { ClusterPods.trim(&$0, rule) }
        await withDiscardingTaskGroup { group in
            group.addTask {
                await namespaces.run { event in
                    self.note(event, "namespaces")
                    let changed = self.state.withLock { state in
                        state.pods.take(event) ? state.pods.enrolledNamespaces : nil
                    }
                    if let changed { self.namespaces.continuation.yield(changed) }
                }
            }
            group.addTask {
                await pods.run { event in
                    self.note(event, "pods")
                    self.state.withLock { $0.pods.take(event) }
                }
            }
        }
    }

    private func note<Object>(_ event: InformerEvent<Object>, _ kind: String) {
        switch event {
        case .synced(let all):
            state.withLock { state in
                state.missing.remove(kind)
                state.reasons[kind] = nil
            }
            logger.info("The cluster's \(kind) are known", metadata: ["count": "\(all.count)"])
        case .changed: break
        case .interrupted(let reason):
            state.withLock { $0.reasons[kind] = reason }
            logger.warning(
                "The cluster's \(kind) are not followed; those that are known stay", metadata: ["reason": "\(reason)"])
        case .resumed:
            state.withLock { $0.reasons[kind] = nil }
            logger.info("The cluster's \(kind) are followed again")
        }
    }
}
