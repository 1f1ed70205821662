public import MeshState
import SPIFFE

/// What the proxies of all nodes are told of a cluster.
public struct PublishedMesh: Hashable, Sendable {
    public let workloads: [Workload]
    public let services: [Service]
    /// Pods left out because their namespace and service account make no SPIFFE ID, with the reason.
    public let omitted: [String: String]

    public var enrolledCount: Int { workloads.count { $0.tunnelProtocol == .hbone } }
}

extension PublishedMesh {
    /// Enrolled pods of every node are reached by HBONE, all others in plain TCP.
    ///
    /// The others are published also: a service may have them as endpoints, and records then carry their names. A proxy
    /// that does not know a pod would pass its traffic through just the same, only without a name.
    public init(_ cluster: ClusterState) {
        var workloads: [Workload] = []
        var omitted: [String: String] = [:]
        for pod in cluster.pods {
            do {
                workloads.append(
                    try Workload(
                        uid: pod.uid,
                        name: pod.name,
                        namespace: pod.namespace,
                        serviceAccount: pod.serviceAccount,
                        trustDomain: cluster.trustDomain,
                        node: pod.node,
                        addresses: pod.addresses,
                        tunnelProtocol: cluster.isEnrolled(pod) ? .hbone : .none,
                        refusesPlaintext: cluster.isEnrolled(pod) && pod.isStrict,
                        services: pod.services
                    ))
            } catch {
                omitted[pod.uid] = error.description
            }
        }
        self.init(workloads: workloads, services: cluster.services, omitted: omitted)
    }
}
