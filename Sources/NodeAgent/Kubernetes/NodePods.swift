import KubernetesAPI
import Synchronization

/// The pods of this node as the API has them: by uid, what is needed to say something of them there.
final class NodePods: Sendable {
    struct Entry: Hashable, Sendable {
        let subject: PodStatusQueue.Subject
        /// It waits to be told that it is enrolled before it is ready.
        let hasGate: Bool
        /// Somebody has left a status on it.
        let isAnnotated: Bool
        /// What is wrong with its annotations; nil for nothing.
        var problem: String?
    }

    private let entries = Mutex<[String: Entry]>([:])

    var all: [String: Entry] { entries.withLock { $0 } }
    subscript(uid: String) -> Entry? { entries.withLock { $0[uid] } }

    func update(_ pod: Pod) {
        var entry = Entry(
            subject: PodStatusQueue.Subject(uid: pod.metadata.uid, namespace: pod.namespace, name: pod.name),
            hasGate: pod.spec.readinessGates.contains(PodEnrolmentStatus.condition),
            isAnnotated: pod.metadata.annotations[PodEnrolmentStatus.annotation] != nil)
        _ = ClusterAnnotation.exclusions(pod.metadata.annotations) { entry.problem = $0 }
        entries.withLock { [entry] in $0[entry.subject.uid] = entry }
    }

    func remove(uid: String) { entries.withLock { $0[uid] = nil } }
}
