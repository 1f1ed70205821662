public import IPAddressing
public import SPIFFE

/// A name and its virtual addresses, behind which workloads answer (`istio.workload.Service`).
///
/// Which workloads do is said by the workloads themselves, in `Workload.services`.
public struct Service: Hashable, Sendable {
    public enum LoadBalancing: Hashable, Sendable {
        /// A healthy endpoint at random, weighted by its capacity.
        case weightedRandom
        /// The connection goes to the address that the application asked for.
        case passthrough
    }

    public let name: ServiceName
    /// The short name, such as `web`.
    public var shortName: String
    /// The virtual addresses.
    public var addresses: [IPAddress]
    /// Service port to the port on the endpoint; 0 leaves the choice to the endpoint's own map.
    public var ports: [UInt16: UInt16]
    /// Accepted at the far end of a tunnel besides the endpoint's own identity.
    public var subjectAltNames: [SPIFFEID]
    public var loadBalancing: LoadBalancing

    public init(
        name: ServiceName,
        shortName: String,
        addresses: [IPAddress],
        ports: [UInt16: UInt16],
        subjectAltNames: [SPIFFEID] = [],
        loadBalancing: LoadBalancing = .weightedRandom
    ) {
        self.name = name
        self.shortName = shortName
        self.addresses = addresses
        self.ports = ports
        self.subjectAltNames = subjectAltNames
        self.loadBalancing = loadBalancing
    }
}
