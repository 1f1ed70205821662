import IPAddressing
import LinuxNetworking
import MeshState

/// Plaintext that a client outside the mesh sent to the pod, accepted on 15006.
///
/// Permissive: it is passed to the application with the client's own address as source, and recorded as plaintext. But a
/// client that the mesh knows as enrolled has no business here: its proxy does not know this pod yet, or was passed by.
enum InboundPassthrough {
    /// Captured connections keep the application's port (TPROXY), so the proxy's own connection to the application must
    /// not meet the client's port: clients use 32768 to 60999 by default, the proxy what lies above.
    static let sourcePorts: ClosedRange<UInt16> = 61_000...65_535

    static func accept(pod: PodProxy, accepted: consuming OwnedDescriptor) {
        let source = TCPSocket.peerAddress(accepted.raw)
        let destination = TCPSocket.originalDestination(accepted.raw) ?? TCPSocket.localAddress(accepted.raw)
        var record = pod.newRecord(.inbound, .plaintext, source: source)
        record.destination = destination
        record.destinationIdentity = pod.pod.identity
        guard let source, let destination, !ReservedPort.isListenerInPod(destination.port) else {
            TCPSocket.abort(accepted.raw)
            record.failure = ConnectionFailure(.denied, "attempted recursive call to ourselves")
            return pod.worker.record(record)
        }
        if let peer = pod.worker.mesh.workload(at: source.ip), peer.tunnelProtocol == .hbone,
            source.ip != destination.ip
        {
            TCPSocket.abort(accepted.raw)
            record.failure = ConnectionFailure(
                .denied, "plaintext from an enrolled pod: \(peer.namespace)/\(peer.name)")
            return pod.worker.record(record)
        }
        if let obstacle = pod.obstacle(to: PlainRelay.socketCount, for: source.ip) {
            return pod.refuse(accepted, record, obstacle)
        }
        let options = DeliveryOptions.options(source: source.ip, destination: destination.ip, ports: sourcePorts)
        PlainRelay.start(pod: pod, accepted: accepted, to: destination, options: options, record: record)
    }
}

/// How the proxy connects to the application, so that the application sees the client's address.
enum DeliveryOptions {
    static func options(source: IPAddress, destination: IPAddress, ports: ClosedRange<UInt16>?)
        -> TCPSocket.ConnectOptions
    {
        var options = TCPSocket.ConnectOptions()
        // A pod that calls itself is its own client: its address needs no borrowing. Nor can one family's address be
        // the source of a connection in the other.
        guard source != destination, source.family == destination.family else {
            options.mark = SocketMark.proxy
            return options
        }
        options.mark = SocketMark.delivery
        options.source = source
        options.localPortRange = ports
        return options
    }
}
