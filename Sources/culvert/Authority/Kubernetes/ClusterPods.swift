import Authority
import KubernetesAPI

/// The cluster's pods as identities are decided from them: a value that takes events and answers questions.
///
/// A pod is registered while it is enrolled (its namespace has the label, with exactly `true`, and its own is not `false`), is placed
/// on a node and does not share the node's network. It is live until it has terminated: one that is being deleted still ends its
/// connections, and keeps its identity for that.
struct ClusterPods {
    /// The label that enrols a namespace and takes out a pod.
    let label: String

    private var enrolled: Set<String> = []
    private var pods: [String: Entry] = [:]
    private var places: [Place: Set<String>] = [:]

    private struct Entry {
        let pod: RegisteredPod
        let name: String
        let isOut: Bool
    }

    private struct Place: Hashable {
        let node: String
        let namespace: String
        let serviceAccount: String

        init(node: String, namespace: String, serviceAccount: String) {
            self.node = node
            self.namespace = namespace
            self.serviceAccount = serviceAccount
        }

        init(_ pod: RegisteredPod) {
            self.init(node: pod.node, namespace: pod.namespace, serviceAccount: pod.serviceAccount)
        }
    }

    init(label: String) {
        self.label = label
    }

    var enrolledNamespaces: Set<String> { enrolled }
    var count: Int { pods.count }

    func pod(uid: String) -> RegisteredPod? {
        guard let entry = pods[uid], !entry.isOut, enrolled.contains(entry.pod.namespace) else { return nil }
        return entry.pod
    }

    func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod? {
        guard enrolled.contains(namespace) else { return nil }
        let place = Place(node: node, namespace: namespace, serviceAccount: serviceAccount)
        return places[place]?.lazy.compactMap { pod(uid: $0) }.first { $0.live }
    }

    /// Whatever of its namespace: for Events.
    func reference(uid: String) -> ObjectReference? {
        pods[uid].map { ObjectReference(kind: "Pod", namespace: $0.pod.namespace, name: $0.name, uid: uid) }
    }

    // MARK: Events

    /// True when the enrolled namespaces are others now.
    mutating func take(_ event: InformerEvent<Namespace>) -> Bool {
        let before = enrolled
        switch event {
        case .synced(let all): enrolled = Set(all.filter(isEnrolled).map(\.name))
        case .changed(let changes):
            for change in changes {
                switch change {
                case .added(let namespace), .modified(_, let namespace):
                    if isEnrolled(namespace) {
                        enrolled.insert(namespace.name)
                    } else {
                        enrolled.remove(namespace.name)
                    }
                case .deleted(let namespace): enrolled.remove(namespace.name)
                }
            }
        case .interrupted, .resumed: break
        }
        return before != enrolled
    }

    mutating func take(_ event: InformerEvent<Pod>) {
        switch event {
        case .synced(let all): for pod in all { put(pod) }
        case .changed(let changes):
            for change in changes {
                switch change {
                case .added(let pod), .modified(_, let pod): put(pod)
                case .deleted(let pod): remove(pod.metadata.uid)
                }
            }
        case .interrupted, .resumed: break
        }
    }

    private func isEnrolled(_ namespace: Namespace) -> Bool {
        namespace.metadata.labels[label].map { $0.utf8.elementsEqual("true".utf8) } ?? false
    }

    private mutating func put(_ pod: Pod) {
        let uid = pod.metadata.uid
        guard !uid.isEmpty, let node = pod.spec.nodeName, !pod.spec.hostNetwork else { return remove(uid) }
        let live = !pod.isTerminated
        let registered = RegisteredPod(
            uid: uid, node: node, namespace: pod.namespace, serviceAccount: pod.spec.serviceAccountName, live: live)
        remove(uid)
        pods[uid] = Entry(pod: registered, name: pod.name, isOut: pod.metadata.labels[label] == "false")
        places[Place(registered), default: []].insert(uid)
    }

    private mutating func remove(_ uid: String) {
        guard let entry = pods.removeValue(forKey: uid) else { return }
        let place = Place(entry.pod)
        places[place]?.remove(uid)
        if places[place]?.isEmpty ?? false { places[place] = nil }
    }

    /// Takes from a pod what is not asked for here: hundreds of thousands may be held.
    static func trim(_ pod: inout Pod, label: String) {
        var kept = Pod()
        kept.metadata.name = pod.metadata.name
        kept.metadata.namespace = pod.metadata.namespace
        kept.metadata.uid = pod.metadata.uid
        kept.metadata.resourceVersion = pod.metadata.resourceVersion
        kept.metadata.labels = pod.metadata.labels.filter { $0.key == label }
        kept.spec.nodeName = pod.spec.nodeName
        kept.spec.serviceAccountName = pod.spec.serviceAccountName
        kept.spec.hostNetwork = pod.spec.hostNetwork
        kept.status.phase = pod.status.phase
        pod = kept
    }

    static func trim(_ namespace: inout Namespace, label: String) {
        namespace.metadata.labels = namespace.metadata.labels.filter { $0.key == label }
        namespace.metadata.annotations = [:]
        namespace.metadata.ownerReferences = []
    }
}
