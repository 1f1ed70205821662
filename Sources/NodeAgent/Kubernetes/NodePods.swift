import IPAddressing
import KubernetesAPI
import Redirection
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
        let serviceAccount: String
        let addresses: [IPAddress]
        /// Why it is not enrolled where its namespace is; that it has no address yet is no reason.
        let exclusion: PodExclusion?
        var exclusions = PodExclusions()
    }

    private let entries = Mutex<[String: Entry]>([:])

    var all: [String: Entry] { entries.withLock { $0 } }
    subscript(uid: String) -> Entry? { entries.withLock { $0[uid] } }

    /// Whichever pod has the name now, if no uid is told.
    func find(_ reference: PodReference) -> Entry? {
        if let uid = reference.uid {
            return self[uid].flatMap { $0.subject.isNamed(reference) ? $0 : nil }
        }
        return entries.withLock { $0.values.first { $0.subject.isNamed(reference) } }
    }

    func update(_ pod: Pod, _ rule: EnrolmentRule) {
        let exclusion = rule.exclusion(of: pod)
        var entry = Entry(
            subject: PodStatusQueue.Subject(uid: pod.metadata.uid, namespace: pod.namespace, name: pod.name),
            hasGate: pod.spec.readinessGates.contains(PodEnrolmentStatus.condition),
            isAnnotated: pod.metadata.annotations[PodEnrolmentStatus.annotation] != nil,
            serviceAccount: pod.spec.serviceAccountName.isEmpty ? "default" : pod.spec.serviceAccountName,
            addresses: pod.status.podIPs.compactMap { IPAddress($0) },
            exclusion: exclusion == .noAddress ? nil : exclusion)
        var problem: String?
        entry.exclusions = ClusterAnnotation.exclusions(pod.metadata.annotations) { problem = $0 }
        entry.problem = problem
        entries.withLock { [entry] in $0[entry.subject.uid] = entry }
    }

    func remove(uid: String) { entries.withLock { $0[uid] = nil } }
}

extension PodStatusQueue.Subject {
    fileprivate func isNamed(_ reference: PodReference) -> Bool {
        namespace.utf8.elementsEqual(reference.namespace.utf8) && name.utf8.elementsEqual(reference.name.utf8)
    }
}
