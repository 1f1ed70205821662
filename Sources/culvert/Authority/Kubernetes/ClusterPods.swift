import Authority
import KubernetesAPI

/// The cluster's pods as identities are decided from them: a value that takes events and answers questions.
///
/// A pod is registered when it is placed on a node, and has an identity while it is enrolled by the agents' own rule. It is live until
/// it has terminated: one that is being deleted still ends its connections, and keeps its identity for that.
struct ClusterPods {
    let enrolment: EnrolmentRule

    private var namespaces: [String: NamespaceEnrolment] = [:]
    private var pods: [String: Entry] = [:]
    private var places: [Place: Set<String>] = [:]

    private struct Entry {
        let pod: RegisteredPod
        let name: String
        /// nil for one that is enrolled where its namespace is, and for what passes: it has no address yet, or has ended.
        let exclusion: PodExclusion?
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

    init(enrolment: EnrolmentRule) {
        self.enrolment = enrolment
    }

    var enrolledNamespaces: Set<String> { Set(namespaces.filter { $0.value == .enrolled }.keys) }

    func pod(uid: String) -> RegisteredPod? {
        guard let entry = pods[uid] else { return nil }
        var pod = entry.pod
        pod.exclusion = exclusion(of: entry)
        return pod
    }

    /// One that is enrolled, if there is any.
    func pod(on node: String, namespace: String, serviceAccount: String) -> RegisteredPod? {
        let place = Place(node: node, namespace: namespace, serviceAccount: serviceAccount)
        let live = (places[place] ?? []).lazy.compactMap { pod(uid: $0) }.filter(\.live)
        return live.first { $0.exclusion == nil } ?? live.first
    }

    /// Its namespace's reason first: that is what most have to change.
    private func exclusion(of entry: Entry) -> String? {
        let (name, label) = (entry.pod.namespace, enrolment.label)
        switch namespaces[name] ?? .unlabelled {
        case .enrolled: return entry.exclusion?.text(enrolmentLabel: label)
        case .unlabelled: return "its namespace \(name) is not labelled \(label)=true"
        case let other: return other.problem(label: label).map { "of its namespace \(name), \($0)" }
        }
    }

    /// Whatever of its namespace: for Events.
    func reference(uid: String) -> ObjectReference? {
        pods[uid].map { ObjectReference(kind: "Pod", namespace: $0.pod.namespace, name: $0.name, uid: uid) }
    }

    // MARK: Events

    /// True when the enrolled namespaces are others now.
    mutating func take(_ event: InformerEvent<Namespace>) -> Bool {
        let before = enrolledNamespaces
        switch event {
        case .synced(let all):
            namespaces = Dictionary(all.map { ($0.name, enrolment.enrolment(of: $0)) }) { $1 }
        case .changed(let changes):
            for change in changes {
                switch change {
                case .added(let namespace), .modified(_, let namespace):
                    namespaces[namespace.name] = enrolment.enrolment(of: namespace)
                case .deleted(let namespace): namespaces[namespace.name] = nil
                }
            }
        case .interrupted, .resumed: break
        }
        return before != enrolledNamespaces
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

    private mutating func put(_ pod: Pod) {
        let uid = pod.metadata.uid
        guard !uid.isEmpty, let node = pod.spec.nodeName else { return remove(uid) }
        let registered = RegisteredPod(
            uid: uid, node: node, namespace: pod.namespace, serviceAccount: pod.spec.serviceAccountName,
            live: !pod.isTerminated)
        let exclusion = enrolment.exclusion(of: pod)
        remove(uid)
        pods[uid] = Entry(
            pod: registered, name: pod.name, exclusion: exclusion.flatMap { $0.isPassing ? nil : $0 })
        places[Place(registered), default: []].insert(uid)
    }

    private mutating func remove(_ uid: String) {
        guard let entry = pods.removeValue(forKey: uid) else { return }
        let place = Place(entry.pod)
        places[place]?.remove(uid)
        if places[place]?.isEmpty ?? false { places[place] = nil }
    }

    /// Takes from a pod what is not asked for here: hundreds of thousands may be held.
    static func trim(_ pod: inout Pod, _ rule: EnrolmentRule) {
        var kept = Pod()
        kept.metadata.name = pod.metadata.name
        kept.metadata.namespace = pod.metadata.namespace
        kept.metadata.uid = pod.metadata.uid
        kept.metadata.resourceVersion = pod.metadata.resourceVersion
        kept.metadata.labels = pod.metadata.labels.filter { rule.reads(label: $0.key) }
        kept.metadata.annotations = pod.metadata.annotations.filter { $0.key == PodExclusion.staticPodAnnotation }
        kept.spec.nodeName = pod.spec.nodeName
        kept.spec.serviceAccountName = pod.spec.serviceAccountName
        kept.spec.hostNetwork = pod.spec.hostNetwork
        kept.status.phase = pod.status.phase
        pod = kept
    }

    static func trim(_ namespace: inout Namespace, _ rule: EnrolmentRule) {
        namespace.metadata.labels = namespace.metadata.labels.filter { $0.key == rule.label }
        namespace.metadata.annotations = [:]
        namespace.metadata.ownerReferences = []
    }
}
