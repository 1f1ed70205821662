import IPAddressing
import KubernetesAPI
import MeshFile
import MeshState
import SPIFFE
import Testing

@testable import NodeAgent

/// A cluster, told of objects one by one, and what an agent, a guard and a proxy know that follow it.
struct KubernetesScene {
    var cluster: KubernetesCluster
    private(set) var mesh = MeshChange()
    private(set) var guarded: Set<String> = []
    /// Of this node, node-a.
    private(set) var enrolled: [String] = []
    private(set) var warnings: [String: String] = [:]
    private(set) var omitted: [String: String] = [:]

    static let label = MeshFile.defaultEnrolmentLabel

    init(excluded: Set<String> = []) throws {
        cluster = KubernetesCluster(
            .init(
                node: "node-a", trustDomain: try TrustDomain("culvert.demo"),
                enrolment: EnrolmentRule(label: Self.label, excludedNamespaces: excluded)))
        namespace("shop")
        namespace("open", enrolment: nil)
    }

    /// Returns what changed.
    @discardableResult
    mutating func settle() -> ClusterChange {
        let change = cluster.takeChange()
        mesh.merge(change.mesh)
        for (address, isGuarded) in change.guarded {
            if isGuarded { guarded.insert(address.description) } else { guarded.remove(address.description) }
        }
        enrolled = change.pods?.map(\.uid) ?? enrolled
        warnings.merge(change.warnings) { $1 }
        omitted.merge(change.omitted) { $1 }
        return change
    }

    // MARK: What is known

    func workload(_ uid: String) -> Workload? { mesh.workloads[uid] ?? nil }

    var workloads: [String] { mesh.workloads.compactMap { $0.value == nil ? nil : $0.key }.sorted() }

    func service(_ name: String, _ namespace: String = "shop") -> MeshState.Service? {
        mesh.services[serviceName(name, namespace)] ?? nil
    }

    func serviceName(_ name: String, _ namespace: String = "shop") -> ServiceName {
        ServiceName(namespace: namespace, hostname: "\(name).\(namespace).svc.cluster.local")
    }

    /// The pods behind a service, by the addresses and ports that one of its ports leads to.
    func endpoints(of name: String, _ namespace: String = "shop", port: UInt16 = 80) -> [String] {
        let service = serviceName(name, namespace)
        return mesh.workloads.values.compactMap(\.self).compactMap { workload in
            guard let own = workload.services[service], let common = self.service(name, namespace)?.ports[port] else {
                return nil
            }
            let target = own[port] ?? common
            return target == 0 ? nil : "\(workload.addresses[0]):\(target)"
        }.sorted()
    }

    // MARK: Events

    mutating func namespace(
        _ name: String, enrolment: String? = "true", mode: String? = nil, annotations: [String: String] = [:]
    ) {
        var labels: [String: String] = [:]
        labels[Self.label] = enrolment
        labels["culvert.dev/mtls-mode"] = mode
        cluster.update(Namespace(metadata: ObjectMeta(name: name, labels: labels, annotations: annotations)))
    }

    mutating func pod(
        _ name: String, _ addresses: String..., namespace: String = "shop", uid: String? = nil, node: String = "node-a",
        serviceAccount: String = "default", phase: PodStatus.Phase = .running, isHostNetwork: Bool = false,
        labels: [String: String] = [:], annotations: [String: String] = [:], owner: OwnerReference? = nil,
        created: String = "2026-01-01T00:00:00Z"
    ) {
        var metadata = ObjectMeta(
            name: name, namespace: namespace, uid: uid ?? name, labels: labels, annotations: annotations,
            ownerReferences: owner.map { [$0] } ?? [])
        metadata.creationTimestamp = Timestamp(created)
        cluster.update(
            KubernetesAPI.Pod(
                metadata: metadata,
                spec: PodSpec(nodeName: node, serviceAccountName: serviceAccount, hostNetwork: isHostNetwork),
                status: PodStatus(phase: phase, podIPs: addresses)))
    }

    mutating func remove(pod name: String, namespace: String = "shop") {
        cluster.removePod(ObjectKey(namespace: namespace, name: name))
    }

    mutating func service(
        _ name: String, _ addresses: [String], namespace: String = "shop",
        ports: [ServicePort] = [ServicePort(port: 80, targetPort: .number(8080))],
        type: ServiceSpec.Kind = .clusterIP, selector: [String: String] = ["app": "web"]
    ) {
        cluster.update(
            KubernetesAPI.Service(
                metadata: ObjectMeta(name: name, namespace: namespace),
                spec: ServiceSpec(type: type, clusterIPs: addresses, ports: ports, selector: selector)))
    }

    mutating func slice(
        _ name: String, of service: String, namespace: String = "shop", type: String = "IPv4",
        ports: [EndpointPort] = [EndpointPort(port: 8080)], _ endpoints: SliceEndpoint...
    ) {
        cluster.update(
            EndpointSlice(
                metadata: ObjectMeta(
                    name: name, namespace: namespace, labels: [EndpointSlice.serviceNameLabel: service]),
                addressType: type, endpoints: endpoints, ports: ports))
    }
}

/// An endpoint that is a pod, or nothing but an address.
func endpoint(
    _ address: String, _ pod: String? = nil, uid: String? = nil, ready: Bool? = nil, serving: Bool? = nil,
    terminating: Bool? = nil
) -> SliceEndpoint {
    SliceEndpoint(
        addresses: [address], ready: ready, serving: serving, terminating: terminating,
        targetRef: pod.map { ObjectReference(kind: "Pod", namespace: "shop", name: $0, uid: uid ?? $0) })
}
