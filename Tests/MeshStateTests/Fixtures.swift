import IPAddressing
import MeshState
import SPIFFE
import SeededRandom
import Testing

func ip(_ text: String) -> IPAddress {
    guard let address = IPAddress(text) else { fatalError("a test names a wrong address: \(text)") }
    return address
}

func at(_ text: String) -> SocketAddress {
    guard let address = SocketAddress(text) else { fatalError("a test names a wrong socket address: \(text)") }
    return address
}

func pod(
    _ uid: String,
    in namespace: String = "shop",
    serviceAccount: String = "default",
    node: String = "node-a",
    _ addresses: String...,
    tunnel: Workload.TunnelProtocol = .hbone,
    status: Workload.Status = .healthy,
    capacity: UInt32 = 1,
    hostNetwork: Bool = false,
    services: [ServiceName: [UInt16: UInt16]] = [:]
) throws -> Workload {
    try Workload(
        uid: uid, name: uid, namespace: namespace, serviceAccount: serviceAccount,
        trustDomain: TrustDomain("culvert.demo"), node: node, addresses: addresses.map(ip), tunnelProtocol: tunnel,
        status: status, capacity: capacity, usesHostNetwork: hostNetwork, services: services)
}

let webName = ServiceName(namespace: "shop", hostname: "web.shop.svc.cluster.local")

func service(
    _ name: ServiceName = webName,
    _ addresses: String...,
    ports: [UInt16: UInt16] = [80: 8080],
    subjectAltNames: [SPIFFEID] = [],
    loadBalancing: Service.LoadBalancing = .weightedRandom
) -> Service {
    Service(
        name: name, shortName: "web", addresses: addresses.map(ip), ports: ports, subjectAltNames: subjectAltNames,
        loadBalancing: loadBalancing)
}

extension MeshSnapshot {
    init(_ workloads: [Workload], _ services: [Service] = []) {
        self = MeshSnapshot().applying(MeshUpdate(upsertedWorkloads: workloads, upsertedServices: services))
    }
}
