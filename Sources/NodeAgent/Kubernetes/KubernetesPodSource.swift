public import KubernetesAPI
public import Logging
import Synchronization

/// The Kubernetes API as the source: pods, namespaces, services and their endpoints, and nodes, of the whole cluster.
///
/// Nothing is delivered before all of them were listed once. What the API does not say, because it is away, stays as it was; what
/// vanished meanwhile is found when it is back.
public final class KubernetesPodSource: PodSource {
    enum Kind: String, CaseIterable, Sendable {
        case namespaces, pods, services, endpointSlices, nodes
    }

    private struct State {
        var cluster: KubernetesCluster
        var unlisted = Set(Kind.allCases)
        var isDelivered = false
        /// Those that `cluster` has, once somebody has asked; nil after namespaces have changed.
        var enrolledNamespaces: Set<String>?
        /// What is behind, and why.
        var interruptions: [Kind: String] = [:]
    }

    private let client: KubernetesClient
    private let configuration: KubernetesCluster.Configuration
    private let logger: Logger
    private let state: Mutex<State>
    /// The pods of this node.
    let nodePods = NodePods()

    public init(_ client: KubernetesClient, _ configuration: KubernetesCluster.Configuration, logger: Logger) {
        self.client = client
        self.configuration = configuration
        self.logger = logger
        state = Mutex(State(cluster: KubernetesCluster(configuration)))
    }

    /// Everything was listed once, and delivered.
    public var isComplete: Bool { state.withLock { $0.isDelivered } }

    /// Why what is known may be behind; nil when the cluster is followed.
    public var interruption: String? {
        let open = state.withLock { $0.interruptions }
        guard !open.isEmpty else { return nil }
        return open.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.key.rawValue): \($0.value)" }
            .joined(separator: "; ")
    }

    /// What is not listed yet; nil when everything is.
    public var notCompleteBecause: String? {
        let (unlisted, interruptions) = state.withLock { ($0.unlisted, $0.interruptions) }
        guard !unlisted.isEmpty else { return nil }
        return unlisted.sorted { $0.rawValue < $1.rawValue }.map { kind in
            kind.rawValue + (interruptions[kind].map { " (\($0))" } ?? "")
        }.joined(separator: ", ") + " not listed yet"
    }

    public func follow(node: String, _ deliver: @Sendable (ClusterChange) async -> Void) async throws {
        let (signals, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        await withTaskGroup(of: Void.self) { group in
            add(Namespace.self, .namespaces, to: &group, signal) { cluster, namespace, isGone in
                if isGone { cluster.removeNamespace(namespace.name) } else { cluster.update(namespace) }
            }
            let rule = configuration.enrolment
            add(Pod.self, .pods, to: &group, signal, trim: { Self.trim(&$0, rule) }) {
                [nodePods] cluster, pod, isGone in
                if pod.spec.nodeName == node {
                    if isGone {
                        nodePods.remove(uid: pod.metadata.uid)
                    } else {
                        nodePods.update(pod, rule)
                    }
                }
                if isGone { cluster.removePod(pod.key) } else { cluster.update(pod) }
            }
            add(Service.self, .services, to: &group, signal) { cluster, service, isGone in
                if isGone { cluster.removeService(service.key) } else { cluster.update(service) }
            }
            add(EndpointSlice.self, .endpointSlices, to: &group, signal) { cluster, slice, isGone in
                if isGone { cluster.removeEndpointSlice(slice.key) } else { cluster.update(slice) }
            }
            add(Node.self, .nodes, to: &group, signal, trim: { Self.trim(&$0) }) { cluster, node, isGone in
                if isGone { cluster.removeNode(node.name) } else { cluster.update(node) }
            }
            for await _ in signals {
                guard let change = takeChange() else { continue }
                await deliver(change)
            }
            group.cancelAll()
        }
        try Task.checkCancellation()
    }

    /// What the CNI plugin is told: the pod has no address, and nobody but the runtime knows of its network namespace.
    public func admission(of pod: PodReference) -> PodAdmission {
        let facts = state.withLock { state in
            state.unlisted.isEmpty ? state.cluster.namespaces[pod.namespace] : nil
        }
        guard let namespace = facts else { return .unknown }
        guard namespace.isEnrolled else { return .notEnrolled }
        guard let entry = nodePods.find(pod) else { return .unknown }
        guard entry.exclusion == nil else { return .notEnrolled }
        return .enrolled(
            ClusterState.Pod(
                uid: entry.subject.uid, name: entry.subject.name, namespace: entry.subject.namespace,
                serviceAccount: entry.serviceAccount, node: configuration.node, addresses: entry.addresses, netns: nil,
                isEnterable: true, exclusions: entry.exclusions.union(namespace.exclusions),
                isStrict: namespace.isStrict))
    }

    public var enrolledNamespaces: Set<String>? {
        state.withLock { state in
            guard state.unlisted.isEmpty else { return nil }
            if let known = state.enrolledNamespaces { return known }
            state.enrolledNamespaces = Set(state.cluster.namespaces.filter(\.value.isEnrolled).keys)
            return state.enrolledNamespaces
        }
    }

    /// nil for nothing to tell, or not everything known.
    private func takeChange() -> ClusterChange? {
        state.withLock { state in
            guard state.unlisted.isEmpty, !state.isDelivered || !state.cluster.isUnchanged else { return nil }
            state.isDelivered = true
            return state.cluster.takeChange()
        }
    }

    private func add<Object: KubernetesObject>(
        _ type: Object.Type, _ kind: Kind, to group: inout TaskGroup<Void>, _ signal: AsyncStream<Void>.Continuation,
        trim: @escaping @Sendable (inout Object) -> Void = { KubernetesPodSource.trim(&$0.metadata) },
        _ apply: @escaping @Sendable (_ cluster: inout KubernetesCluster, _ object: Object, _ isGone: Bool) -> Void
    ) {
        let informer = Informer(type, of: client, trim: trim)
        group.addTask {
            await informer.run { event in
                self.take(event, of: kind, apply)
                signal.yield()
            }
        }
    }

    private func take<Object: KubernetesObject>(
        _ event: InformerEvent<Object>, of kind: Kind,
        _ apply: (_ cluster: inout KubernetesCluster, _ object: Object, _ isGone: Bool) -> Void
    ) {
        switch event {
        case .synced(let objects):
            state.withLock { state in
                if kind == .namespaces { state.enrolledNamespaces = nil }
                for object in objects { apply(&state.cluster, object, false) }
                state.unlisted.remove(kind)
                state.interruptions[kind] = nil
            }
            logger.info("Objects listed", metadata: ["kind": "\(kind.rawValue)", "count": "\(objects.count)"])
        case .changed(let changes):
            state.withLock { state in
                if kind == .namespaces { state.enrolledNamespaces = nil }
                for change in changes {
                    if case .deleted(let object) = change {
                        apply(&state.cluster, object, true)
                    } else {
                        apply(&state.cluster, change.object, false)
                    }
                }
            }
        case .interrupted(let reason):
            let isNews = state.withLock { $0.interruptions.updateValue(reason, forKey: kind) } == nil
            logger.log(
                level: isNews ? .warning : .debug,
                "Cluster is not followed; what is known stays, and the API server is asked again",
                metadata: ["kind": "\(kind.rawValue)", "reason": "\(reason)"])
        case .resumed:
            state.withLock { $0.interruptions[kind] = nil }
            logger.info("Cluster is followed again", metadata: ["kind": "\(kind.rawValue)"])
        }
    }

    // MARK: - What is held

    /// Of annotations only ours, and the one that says what a pod is, are ever looked at.
    private static func trim(_ metadata: inout ObjectMeta) {
        metadata.annotations = metadata.annotations.filter { key, _ in
            key.hasPrefix("culvert.dev/") || key == PodExclusion.staticPodAnnotation
        }
        metadata.finalizers = []
    }

    /// A change in anything else of a pod is none.
    private static func trim(_ pod: inout Pod, _ rule: EnrolmentRule) {
        trim(&pod.metadata)
        pod.metadata.labels = pod.metadata.labels.filter { rule.reads(label: $0.key) || $0.key == "pod-template-hash" }
        pod.spec.containers = []
        pod.spec.initContainers = []
        let addresses = pod.status.podIPs.isEmpty ? pod.status.podIP.map { [$0] } ?? [] : pod.status.podIPs
        pod.status = PodStatus(phase: pod.status.phase, podIPs: addresses)
    }

    private static func trim(_ node: inout Node) {
        node = Node(metadata: node.metadata, podCIDRs: node.podCIDRs)
        trim(&node.metadata)
        node.metadata.labels = [:]
    }
}
