import FoundationEssentials
import IPAddressing
public import MeshState
public import SPIFFE
import SwiftProtobuf

extension Workload {
    /// Takes a workload from the wire.
    ///
    /// `trustDomain` stands in where the message leaves its own out. What this version does not act on and may not
    /// ignore, because traffic would go past a waypoint or a policy, is refused.
    public init(_ message: Istio_Workload_Workload, trustDomain: TrustDomain) throws(ResourceError) {
        let uid = message.uid
        try ResourceLimits.check(uid, "uid", of: uid, limit: ResourceLimits.uidBytes, required: true)
        try ResourceLimits.check(message.name, "name", of: uid)
        try ResourceLimits.check(message.namespace, "namespace", of: uid, required: true)
        try ResourceLimits.check(message.serviceAccount, "service_account", of: uid)
        try ResourceLimits.check(message.node, "node", of: uid)
        try ResourceLimits.check(message.workloadName, "workload_name", of: uid)
        try ResourceLimits.check(message.addresses.count, "addresses", of: uid, limit: ResourceLimits.addresses)
        try ResourceLimits.check(message.services.count, "services", of: uid, limit: ResourceLimits.services)
        try Workload.refuseUnsupported(message)

        var addresses: [IPAddress] = []
        for (index, bytes) in message.addresses.enumerated() {
            addresses.append(try IPAddress(bytes, field: "addresses[\(index)]", of: uid))
        }
        var services: [ServiceName: [UInt16: UInt16]] = [:]
        for (key, list) in message.services {
            guard let name = ServiceName(key), key.utf8.count <= 2 * ResourceLimits.nameBytes + 1 else {
                throw ResourceError(uid, "services", "a key is not namespace/hostname")
            }
            services[name] = try [UInt16: UInt16](list.ports, field: "services[\(name)].ports", of: uid)
        }
        do {
            try self.init(
                uid: uid,
                name: message.name,
                namespace: message.namespace,
                serviceAccount: message.serviceAccount.isEmpty ? "default" : message.serviceAccount,
                trustDomain: message.trustDomain.isEmpty ? trustDomain : TrustDomain(message.trustDomain),
                node: message.node,
                addresses: addresses,
                tunnelProtocol: message.tunnelProtocol == .hbone ? .hbone : .none,
                refusesPlaintext: !message.authorizationPolicies.isEmpty,
                status: message.status == .healthy ? .healthy : .unhealthy,
                capacity: message.hasCapacity ? message.capacity.value : 1,
                usesHostNetwork: message.networkMode == .hostNetwork,
                services: services,
                workloadName: message.workloadName
            )
        } catch {
            throw ResourceError(uid, "", "names no SPIFFE ID: \(error)")
        }
    }

    private static func refuseUnsupported(_ message: Istio_Workload_Workload) throws(ResourceError) {
        func refuse(_ field: String, _ reason: String) -> ResourceError { ResourceError(message.uid, field, reason) }
        switch message.tunnelProtocol {
        case .none, .hbone: break
        case .legacyIstioMtls: throw refuse("tunnel_protocol", "LEGACY_ISTIO_MTLS is not supported")
        case .UNRECOGNIZED(let value): throw refuse("tunnel_protocol", "\(value) is unknown")
        }
        guard message.network.isEmpty else { throw refuse("network", "only the default network is supported") }
        guard !message.hasWaypoint else { throw refuse("waypoint", "waypoints are not supported") }
        guard !message.hasNetworkGateway else { throw refuse("network_gateway", "gateways are not supported") }
        guard message.applicationTunnel.protocol == .none else {
            throw refuse("application_tunnel", "the PROXY protocol is not supported")
        }
        guard message.authorizationPolicies.allSatisfy(StrictPolicy.isName) else {
            throw refuse(
                "authorization_policies", "authorization policies other than the static strict one are not supported")
        }
    }
}

extension Istio_Workload_Workload {
    public init(_ workload: Workload) {
        self.init()
        uid = workload.uid
        name = workload.name
        namespace = workload.namespace
        serviceAccount = workload.serviceAccount
        trustDomain = workload.trustDomain.name
        node = workload.node
        addresses = workload.addresses.map { Data($0.bytes) }
        tunnelProtocol = workload.tunnelProtocol == .hbone ? .hbone : .none
        if workload.refusesPlaintext { authorizationPolicies = [StrictPolicy.name] }
        status = workload.status == .healthy ? .healthy : .unhealthy
        if workload.capacity != 1 { capacity = Google_Protobuf_UInt32Value(workload.capacity) }
        networkMode = workload.usesHostNetwork ? .hostNetwork : .standard
        workloadType = .pod
        workloadName = workload.workloadName
        for (name, ports) in workload.services {
            services[name.description] = .with { $0.ports = [Istio_Workload_Port](ports) }
        }
    }
}

extension IPAddress {
    init(_ bytes: Data, field: String, of resource: String) throws(ResourceError) {
        guard let address = IPAddress(bytes: bytes) else {
            throw ResourceError(resource, field, "has \(bytes.count) bytes; an IP address has 4 or 16")
        }
        guard !address.isUnspecified else { throw ResourceError(resource, field, "\(address) is nobody's address") }
        self = address
    }
}

extension [UInt16: UInt16] {
    /// Service port to target port; a target of 0 stays 0.
    init(_ ports: [Istio_Workload_Port], field: String, of resource: String) throws(ResourceError) {
        try ResourceLimits.check(ports.count, field, of: resource, limit: ResourceLimits.ports)
        self.init(minimumCapacity: ports.count)
        for port in ports {
            guard let servicePort = UInt16(exactly: port.servicePort), servicePort > 0 else {
                throw ResourceError(resource, field, "service_port \(port.servicePort) is not 1 to 65535")
            }
            guard let targetPort = UInt16(exactly: port.targetPort) else {
                throw ResourceError(resource, field, "target_port \(port.targetPort) is not 0 to 65535")
            }
            self[servicePort] = targetPort
        }
    }
}

extension [Istio_Workload_Port] {
    /// In the order of the ports, so that equal maps have equal bytes.
    init(_ ports: [UInt16: UInt16]) {
        self = ports.sorted { $0.key < $1.key }.map { servicePort, targetPort in
            .with {
                $0.servicePort = UInt32(servicePort)
                $0.targetPort = UInt32(targetPort)
            }
        }
    }
}
