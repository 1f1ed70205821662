import FoundationEssentials
import IPAddressing
public import MeshState
import SPIFFE
import SwiftProtobuf

extension Service {
    /// Takes a service from the wire; refuses what this version would otherwise have to ignore, as for workloads.
    public init(_ message: Istio_Workload_Service) throws(ResourceError) {
        let key = "\(message.namespace)/\(message.hostname)"
        guard let name = ServiceName(key) else {
            throw ResourceError(key, "", "namespace and hostname must both be set and hold no \"/\"")
        }
        try ResourceLimits.check(message.namespace, "namespace", of: key)
        try ResourceLimits.check(message.hostname, "hostname", of: key)
        try ResourceLimits.check(message.name, "name", of: key)
        try ResourceLimits.check(message.addresses.count, "addresses", of: key, limit: ResourceLimits.addresses)
        try ResourceLimits.check(
            message.subjectAltNames.count, "subject_alt_names", of: key, limit: ResourceLimits.subjectAltNames)
        guard !message.hasWaypoint else { throw ResourceError(key, "waypoint", "waypoints are not supported") }
        guard message.loadBalancing.mode != .strict else {
            throw ResourceError(key, "load_balancing", "STRICT locality is not supported")
        }

        var addresses: [IPAddress] = []
        for (index, entry) in message.addresses.enumerated() {
            addresses.append(try Service.address(entry, field: "addresses[\(index)]", of: key))
        }
        var identities: [SPIFFEID] = []
        for (index, text) in message.subjectAltNames.enumerated() {
            do {
                identities.append(try SPIFFEID(text))
            } catch {
                throw ResourceError(key, "subject_alt_names[\(index)]", error.description)
            }
        }
        self.init(
            name: name,
            shortName: message.name,
            addresses: addresses,
            ports: try [UInt16: UInt16](message.ports, field: "ports", of: key),
            subjectAltNames: identities,
            loadBalancing: message.loadBalancing.mode == .passthrough ? .passthrough : .weightedRandom
        )
    }

    private static func address(
        _ message: Istio_Workload_NetworkAddress, field: String, of resource: String
    ) throws(ResourceError) -> IPAddress {
        guard message.network.isEmpty else {
            throw ResourceError(resource, field, "only the default network is supported")
        }
        let address = try IPAddress(message.address, field: field, of: resource)
        guard !message.hasLength || Int(message.length) == address.bitWidth else {
            throw ResourceError(resource, field, "a range of addresses is not supported")
        }
        return address
    }
}

extension Istio_Workload_Service {
    public init(_ service: Service) {
        self.init()
        name = service.shortName
        namespace = service.name.namespace
        hostname = service.name.hostname
        addresses = service.addresses.map { address in .with { $0.address = Data(address.bytes) } }
        ports = [Istio_Workload_Port](service.ports)
        subjectAltNames = service.subjectAltNames.map(\.description)
        if service.loadBalancing == .passthrough { loadBalancing.mode = .passthrough }
    }
}
