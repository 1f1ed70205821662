import IPAddressing
import MeshState

/// What to do with a plaintext connection that was led to the proxy: decided from its ends and the mesh, without I/O.
enum PlaintextDecision: Equatable {
    case deliver
    /// The mesh does not tell yet what this pod accepts.
    case wait
    case refuse(ConnectionFailure)

    /// `own` is the pod that accepted it, `peer` who has the source's address; nil for one that the mesh does not know.
    static func decide(
        source: SocketAddress, destination: SocketAddress, own: Workload?, peer: Workload?
    ) -> PlaintextDecision {
        guard !ReservedPort.isListenerInPod(destination.port) else {
            return .refuse(ConnectionFailure(.denied, "attempted recursive call to ourselves"))
        }
        // Its proxy does not know this pod yet, or was passed by.
        if let peer, peer.tunnelProtocol == .hbone, source.ip != destination.ip {
            let name = "\(peer.namespace)/\(peer.name)"
            return .refuse(ConnectionFailure(.denied, "plaintext from an enrolled pod: \(name)"))
        }
        guard let own else { return .wait }
        return own.refusesPlaintext ? .refuse(.strict(own.namespace)) : .deliver
    }
}

extension ConnectionFailure {
    static func strict(_ namespace: String) -> ConnectionFailure {
        ConnectionFailure(.plaintextRefused, "plaintext is refused: namespace \(namespace) is strict")
    }
}
