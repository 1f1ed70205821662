import IPAddressing
import MeshState

/// What to do with a CONNECT: decided from its authority and from where it arrived, without I/O.
enum InboundDecision: Equatable {
    case deliver(to: SocketAddress)
    case refuse(status: Int, reason: String)

    /// `local` is the address of the pod that accepted the connection: nobody else's traffic is delivered there.
    static func decide(authority: String, local: IPAddress) -> InboundDecision {
        guard let target = SocketAddress(authority) else {
            return .refuse(status: 400, reason: "no valid authority pseudo header: \(authority)")
        }
        guard target.ip == local else {
            return .refuse(status: 400, reason: "ip mismatch: \(target.ip) != \(local)")
        }
        guard !ReservedPort.isListenerInPod(target.port) else {
            return .refuse(status: 503, reason: "attempted recursive call to ourselves")
        }
        return .deliver(to: target)
    }
}
