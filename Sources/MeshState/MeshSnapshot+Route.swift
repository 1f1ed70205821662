public import IPAddressing

extension MeshSnapshot {
    /// Where a connection that `source` opened to `destination` goes.
    ///
    /// A virtual address comes before a workload's own; an address that is neither is outside the mesh and passes
    /// through, unless it is one that pods and services have: then whoever knows the cluster is to be asked. `random` is uniform over its type and chooses among the endpoints of a service.
    public func route(from source: Workload, to destination: SocketAddress, random: UInt64) -> Route {
        if let service = service(at: destination.ip, from: source.namespace) {
            guard service.loadBalancing != .passthrough else {
                return .plain(to: destination, destination: nil, service: service.name)
            }
            let endpoints = endpoints(of: service.name)
            guard let (uid, port) = endpoints.pick(destination.port, of: service, random: random),
                let workload = workload(uid: uid)
            else { return .refused(.noHealthyUpstream(destination)) }
            return route(to: workload, port: port, asked: destination.ip, service: service)
        }
        guard let workload = workload(at: destination.ip) else {
            guard !ranges.contains(destination.ip) else { return .unknown(destination) }
            return .plain(to: destination, destination: nil, service: nil)
        }
        return route(to: workload, port: destination.port, asked: destination.ip, service: nil)
    }

    private func route(to workload: Workload, port: UInt16, asked: IPAddress, service: Service?) -> Route {
        guard let ip = workload.address(asked: asked) else { return .refused(.noAddress(uid: workload.uid)) }
        let target = SocketAddress(ip, port: port)
        switch workload.tunnelProtocol {
        case .none:
            return .plain(to: target, destination: workload, service: service?.name)
        case .hbone:
            let tunnel = Tunnel(
                endpoint: SocketAddress(ip, port: ReservedPort.hbone),
                authority: target,
                expected: [workload.identity] + (service?.subjectAltNames ?? []),
                destination: workload,
                service: service?.name
            )
            return .tunnel(tunnel)
        }
    }
}

extension Workload {
    /// The address to dial: the one asked for if it is the workload's own, else one of the same family, else any.
    fileprivate func address(asked: IPAddress) -> IPAddress? {
        if addresses.contains(asked) { return asked }
        return addresses.first { $0.family == asked.family } ?? addresses.first
    }
}
