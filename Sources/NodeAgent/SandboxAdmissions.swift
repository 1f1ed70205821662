import CNI
import IPAddressing

/// Pods that the container runtime is about to start, of which the cluster may not know the address for seconds yet: what they are asked
/// for by the CNI plugin makes them desired until the cluster says the same.
struct SandboxAdmissions {
    /// By uid.
    private(set) var pods: [String: ClusterState.Pod] = [:]

    /// What is to be said to a question now, as far as that needs no enrolment.
    enum Verdict: Hashable {
        case answer(SandboxAnswer)
        case wait(because: String)
        /// It is desired from now on: whether it is enrolled is to be seen.
        case enrol(uid: String)
    }

    mutating func take(_ question: SandboxQuestion, _ admission: (PodReference) -> PodAdmission) -> Verdict {
        guard let sandbox = question.sandbox else { return .answer(.ready) }
        let reference = PodReference(sandbox.pod)
        switch admission(reference) {
        case .unknown:
            return .wait(because: "the API server has not told of pod \(reference.namespace)/\(reference.name) yet")
        case .notEnrolled:
            return .answer(.notEnrolled)
        case .enrolled(let pod):
            if question.kind == .add { pods[pod.uid] = pod.placed(in: sandbox) }
            return .enrol(uid: pod.uid)
        }
    }

    /// The pods that are desired, those admitted among them. `isThere` says whether there is something at the path of a namespace.
    mutating func desired(
        _ known: [ClusterState.Pod], _ admission: (PodReference) -> PodAdmission, isThere: (String) -> Bool
    ) -> [ClusterState.Pod] {
        for (uid, pod) in pods {
            // The cluster knows its address by now; or the sandbox is gone.
            let hasCaughtUp = known.contains { $0.uid == uid && !Set($0.addresses).isDisjoint(with: pod.addresses) }
            let reference = PodReference(namespace: pod.namespace, name: pod.name, uid: uid)
            guard !hasCaughtUp, pod.netns.map(isThere) ?? false, case .enrolled(let now) = admission(reference) else {
                pods[uid] = nil
                continue
            }
            pods[uid] = now.placed(as: pod)
        }
        if pods.isEmpty { return known }
        return known.filter { pods[$0.uid] == nil } + pods.values.sorted { $0.uid < $1.uid }
    }
}

extension PodReference {
    init(_ pod: CNIRequest.Pod) { self.init(namespace: pod.namespace, name: pod.name, uid: pod.uid) }
}

extension ClusterState.Pod {
    fileprivate func placed(in sandbox: SandboxNote) -> ClusterState.Pod {
        placed(sandbox.netns, sandbox.addresses.isEmpty ? addresses : sandbox.addresses)
    }

    fileprivate func placed(as other: ClusterState.Pod) -> ClusterState.Pod { placed(other.netns, other.addresses) }

    private func placed(_ netns: String?, _ addresses: [IPAddress]) -> ClusterState.Pod {
        ClusterState.Pod(
            uid: uid, name: name, namespace: namespace, serviceAccount: serviceAccount, node: node,
            addresses: addresses,
            netns: netns, isEnterable: true, labels: labels, services: services, exclusions: exclusions,
            isStrict: isStrict)
    }
}
