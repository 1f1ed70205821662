/// What a source knows of a pod whose sandbox is being made: it has no address yet.
public enum PodAdmission: Hashable, Sendable {
    /// It has not heard of it yet.
    case unknown
    /// It is none of the mesh's.
    case notEnrolled
    /// It is to be enrolled; without addresses and network namespace, where the source is not the one that knows them.
    case enrolled(ClusterState.Pod)
}

/// What a container runtime calls a pod by.
public struct PodReference: Hashable, Sendable {
    public let namespace: String
    public let name: String
    /// nil where the runtime does not tell: then whichever pod has the name now.
    public let uid: String?

    public init(namespace: String, name: String, uid: String?) {
        self.namespace = namespace
        self.name = name
        self.uid = uid
    }

    func means(_ pod: ClusterState.Pod) -> Bool {
        pod.namespace.utf8.elementsEqual(namespace.utf8) && pod.name.utf8.elementsEqual(name.utf8)
            && uid.map { $0.utf8.elementsEqual(pod.uid.utf8) } ?? true
    }
}
