public import IPAddressing
public import SPIFFE

/// Where one connection goes.
public enum Route: Hashable, Sendable {
    /// Through HBONE, to a peer that must prove one of the expected identities.
    case tunnel(Tunnel)
    /// In plain TCP; `destination` is nil for an address outside the mesh.
    case plain(to: SocketAddress, destination: Workload?, service: ServiceName?)
    /// In plain TCP, if it is certain that nobody of the mesh has this address, which is one of the mesh's ranges.
    case unknown(SocketAddress)
    /// The connection is closed: there is nowhere it may go.
    case refused(RouteRefusal)
}

/// A connection's way through HBONE.
public struct Tunnel: Hashable, Sendable {
    /// Where the HBONE connection is opened: the pod's address, port 15008.
    public let endpoint: SocketAddress
    /// The `:authority` of the CONNECT request: the pod's address and the application's port.
    public let authority: SocketAddress
    /// The identities of which the peer must prove one; never empty.
    public let expected: [SPIFFEID]
    public let destination: Workload
    /// The service that the application addressed, if it did.
    public let service: ServiceName?
}

/// Why a connection has nowhere to go.
public enum RouteRefusal: Error, Hashable, Sendable {
    /// The service at this address has no healthy endpoint, or none that serves this port.
    case noHealthyUpstream(SocketAddress)
    /// The workload has no address that can be dialled.
    case noAddress(uid: String)
}

extension RouteRefusal: CustomStringConvertible {
    public var description: String {
        switch self {
        case .noHealthyUpstream(let destination): "no healthy upstream: \(destination)"
        case .noAddress(let uid): "workload has no address: \(uid)"
        }
    }
}
