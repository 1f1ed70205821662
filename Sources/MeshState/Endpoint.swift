/// One healthy workload behind a service, with what choosing it needs.
struct Endpoint: Sendable {
    let uid: String
    let capacity: UInt32
    /// Service port to the workload's own port.
    let ports: [UInt16: UInt16]

    init(of workload: Workload, ports: [UInt16: UInt16]) {
        uid = workload.uid
        // Without an address nothing can be dialled: never chosen rather than chosen and refused.
        capacity = workload.addresses.isEmpty ? 0 : workload.capacity
        self.ports = ports
    }

    /// The port to dial for a service port; nil when neither the endpoint nor the service maps it to one.
    func target(for servicePort: UInt16, in service: Service) -> UInt16? {
        guard let common = service.ports[servicePort] else { return nil }
        let target = ports[servicePort] ?? common
        return target > 0 ? target : nil
    }
}

extension [Endpoint] {
    /// One of those that serve the port, with probability proportional to capacity; `random` is uniform over its type.
    func pick(_ servicePort: UInt16, of service: Service, random: UInt64) -> (uid: String, port: UInt16)? {
        var total: UInt64 = 0
        for endpoint in self where endpoint.target(for: servicePort, in: service) != nil {
            total += UInt64(endpoint.capacity)
        }
        // The high word of random * total is uniform below total; with total zero, nothing is below it.
        var rest = random.multipliedFullWidth(by: total).high
        for endpoint in self {
            guard let port = endpoint.target(for: servicePort, in: service) else { continue }
            if rest < UInt64(endpoint.capacity) { return (endpoint.uid, port) }
            rest -= UInt64(endpoint.capacity)
        }
        return nil
    }
}
