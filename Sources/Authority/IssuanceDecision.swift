public import SPIFFE

/// Who a pod is, decided from what is registered alone: a value without I/O.
public enum IssuanceDecision {
    /// The identity that `node` may have for pod `uid`, which the registry knows as `pod`.
    public static func identity(
        forPod uid: String,
        registered pod: RegisteredPod?,
        on node: NodeName,
        in trustDomain: TrustDomain
    ) throws(Denial) -> SPIFFEID {
        guard let pod, pod.uid.utf8.elementsEqual(uid.utf8) else { throw .podUnknown(uid: uid) }
        guard pod.node.utf8.elementsEqual(node.description.utf8) else { throw .podNotOnNode(uid: uid, node: node) }
        guard pod.live else { throw .podTerminated(uid: uid) }
        if let reason = pod.exclusion { throw .podExcluded(uid: uid, reason) }
        let id: SPIFFEID
        do {
            id = try SPIFFEID(
                trustDomain: trustDomain, namespace: pod.namespace, serviceAccount: pod.serviceAccount)
        } catch {
            throw .identityRefused("pod \(uid) cannot be named: \(error)")
        }
        guard !ReservedIdentity.contains(id) else {
            throw .identityRefused("\(id) is reserved for Culvert itself")
        }
        return id
    }

    /// The pod for whose sake `node` may have the identity that it asked for by name; `pod` is what the registry has for it.
    public static func pod(
        with requested: SPIFFEID, registered pod: RegisteredPod?, on node: NodeName, in trustDomain: TrustDomain
    ) throws(Denial) -> RegisteredPod {
        guard requested.isMember(of: trustDomain) else {
            throw .identityRefused("\(requested) is not of this authority's trust domain \(trustDomain)")
        }
        guard requested.workload != nil else {
            throw .identityRefused("\(requested) is no workload's: /ns/<namespace>/sa/<service account> is")
        }
        guard let pod, pod.live, pod.node.utf8.elementsEqual(node.description.utf8),
            try identity(forPod: pod.uid, registered: pod, on: node, in: trustDomain) == requested
        else { throw .identityNotOnNode(requested, node: node) }
        return pod
    }
}
