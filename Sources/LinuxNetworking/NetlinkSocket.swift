import CLinux
import Glibc

/// Asks the kernel questions and waits for the answers, in the network namespace it was made in.
final class NetlinkSocket {
    enum Family: Int32 {
        case route = 0
        case socketDiagnostics = 4
    }

    /// In milliseconds. The kernel answers before it returns from the request; this is for when it never does.
    private static let patience: Int32 = 5_000

    private let descriptor: OwnedDescriptor
    private var sequence: UInt32 = 0
    private var buffer = [UInt8](repeating: 0, count: 256 << 10)

    init(_ family: Family) throws(Errno) {
        descriptor = OwnedDescriptor(
            adopting: try checked(clinux_netlink_socket(family.rawValue), "open netlink socket"))
    }

    /// Throws the error that the kernel answers with, under the name of `call`.
    func perform(_ message: NetlinkMessage, _ call: @autoclosure () -> String) throws(Errno) {
        try exchange(message, call()) { _ in }
    }

    /// What the kernel answers before it ends the list, or acknowledges.
    func replies(to message: NetlinkMessage, _ call: @autoclosure () -> String) throws(Errno) -> [NetlinkReply] {
        var replies: [NetlinkReply] = []
        try exchange(message, call()) { replies.append($0) }
        return replies
    }

    private func exchange(
        _ message: NetlinkMessage, _ call: String, _ body: (NetlinkReply) -> Void
    ) throws(Errno) {
        sequence += 1
        var message = message
        message.sequence = sequence
        let sent = message.bytes.withUnsafeBytes { clinux_send(descriptor.raw, $0.baseAddress, $0.count) }
        try checked(Int32(sent), call)
        while true {
            for reply in try receive(call) where reply.sequence == sequence {
                switch reply.type {
                case NetlinkReply.error, NetlinkReply.done:
                    // A list may end without a code.
                    let code = reply.payload.integer(at: 0, as: Int32.self) ?? 0
                    try checked(code, call)
                    return
                default:
                    body(reply)
                }
            }
        }
    }

    private func receive(_ call: String) throws(Errno) -> [NetlinkReply] {
        let ready = clinux_poll(descriptor.raw, Int16(POLLIN), -1, NetlinkSocket.patience)
        if ready == 0 { throw Errno(code: ETIMEDOUT, call: call) }
        if ready == -EINTR { return [] }
        try checked(ready, call)
        let count = buffer.withUnsafeMutableBytes { clinux_netlink_receive(descriptor.raw, $0.baseAddress, $0.count) }
        if count == -Int(EPERM) || count == -Int(EAGAIN) { return [] }
        try checked(Int32(count), call)
        guard let replies = NetlinkReply.parse(buffer[..<count]) else { throw Errno(code: EBADMSG, call: call) }
        return replies
    }
}
