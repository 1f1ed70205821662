public import IPAddressing
public import SPIFFE

/// Something that has addresses and runs as a service account: a pod (`istio.workload.Workload`).
public struct Workload: Hashable, Sendable {
    public enum TunnelProtocol: Hashable, Sendable {
        /// Reached in plain TCP.
        case none
        /// Reached through HBONE at port 15008 of its address.
        case hbone
    }

    public enum Status: Hashable, Sendable {
        case healthy
        case unhealthy
    }

    public let uid: String
    public let name: String
    public let namespace: String
    public let serviceAccount: String
    public let trustDomain: TrustDomain
    /// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    public let identity: SPIFFEID
    public var node: String
    public var addresses: [IPAddress]
    public var tunnelProtocol: TunnelProtocol
    /// Takes nothing but HBONE: its namespace is strict.
    public var refusesPlaintext: Bool
    public var status: Status
    /// The weight among the endpoints of a service; 0 is never chosen.
    public var capacity: UInt32
    /// Shares its node's network namespace: its addresses are the node's and do not lead to it.
    public var usesHostNetwork: Bool
    /// The services that it is an endpoint of; for each, service port to its own port where that differs from the service's.
    public var services: [ServiceName: [UInt16: UInt16]]
    /// The name of its controller, such as a Deployment's; empty when unknown.
    public var workloadName: String

    /// Throws when namespace or service account cannot be part of a SPIFFE ID.
    public init(
        uid: String,
        name: String,
        namespace: String,
        serviceAccount: String,
        trustDomain: TrustDomain,
        node: String = "",
        addresses: [IPAddress] = [],
        tunnelProtocol: TunnelProtocol = .none,
        refusesPlaintext: Bool = false,
        status: Status = .healthy,
        capacity: UInt32 = 1,
        usesHostNetwork: Bool = false,
        services: [ServiceName: [UInt16: UInt16]] = [:],
        workloadName: String = ""
    ) throws(SPIFFEIDError) {
        identity = try SPIFFEID(trustDomain: trustDomain, namespace: namespace, serviceAccount: serviceAccount)
        self.uid = uid
        self.name = name
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.trustDomain = trustDomain
        self.node = node
        self.addresses = addresses
        self.tunnelProtocol = tunnelProtocol
        self.refusesPlaintext = refusesPlaintext
        self.status = status
        self.capacity = capacity
        self.usesHostNetwork = usesHostNetwork
        self.services = services
        self.workloadName = workloadName
    }
}
