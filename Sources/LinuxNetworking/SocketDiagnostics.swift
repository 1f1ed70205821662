import Glibc
public import IPAddressing

/// TCP sockets as the kernel lists them, and their destruction (sock_diag(7)); in the calling thread's network namespace.
public enum SocketDiagnostics {
    public struct TCPSocketEntry: Hashable, Sendable {
        public let local: SocketAddress
        public let remote: SocketAddress
        /// As in the kernel's tcp_states.h: 1 established, 2 SYN sent, 10 listening.
        public let state: UInt8
        /// SO_MARK; 0 without one.
        public let mark: UInt32
        let family: UInt8
        /// struct inet_diag_sockid: names this very socket, not just its addresses.
        let identifier: [UInt8]
    }

    /// Every state with a peer: not listening, not closed, and not TIME_WAIT, which holds no data.
    static let statesWithPeer: UInt32 = 0b1011_0011_1110 | 1 << 12

    /// Of both families, those that have a peer.
    public static func connectedTCP() throws(Errno) -> [TCPSocketEntry] {
        try list(NetlinkSocket(.socketDiagnostics))
    }

    /// Of both families, those that listen.
    public static func listeningTCP() throws(Errno) -> [TCPSocketEntry] {
        try list(NetlinkSocket(.socketDiagnostics), states: 1 << 10)
    }

    private static func list(
        _ netlink: NetlinkSocket, states: UInt32 = statesWithPeer
    ) throws(Errno) -> [TCPSocketEntry] {
        var entries: [TCPSocketEntry] = []
        for family in [IPAddress.Family.v4, .v6] {
            let replies = try netlink.replies(to: listRequest(family, states: states), "list TCP sockets")
            entries += replies.compactMap(TCPSocketEntry.init)
        }
        return entries
    }

    /// Aborts, as by the application itself, every connection that `isChosen`: its peer gets RST, its owner ECONNABORTED.
    ///
    /// Answers how many. EOPNOTSUPP from a kernel without CONFIG_INET_DIAG_DESTROY. Needs CAP_NET_ADMIN.
    @discardableResult
    public static func destroyTCP(where isChosen: (TCPSocketEntry) -> Bool) throws(Errno) -> Int {
        let netlink = try NetlinkSocket(.socketDiagnostics)
        var destroyed = 0
        for entry in try list(netlink) where isChosen(entry) {
            do throws(Errno) {
                try netlink.perform(destroyRequest(entry), "destroy connection to \(entry.remote)")
                destroyed += 1
            } catch  where error.code == ENOENT {
                // It ended by itself.
                continue
            }
        }
        return destroyed
    }

    /// struct inet_diag_req_v2 of SOCK_DIAG_BY_FAMILY.
    static func listRequest(_ family: IPAddress.Family, states: UInt32 = statesWithPeer) -> NetlinkMessage {
        var message = NetlinkMessage(type: 20, flags: .dump)
        message.append([family.number, UInt8(IPPROTO_TCP), 0, 0])
        message.append(states)
        message.append([UInt8](repeating: 0, count: 48))
        return message
    }

    /// SOCK_DESTROY.
    static func destroyRequest(_ entry: TCPSocketEntry) -> NetlinkMessage {
        var message = NetlinkMessage(type: 21, flags: .acknowledge)
        message.append([entry.family, UInt8(IPPROTO_TCP), 0, 0])
        message.append(UInt32(1) << UInt32(entry.state))
        message.append(entry.identifier)
        return message
    }
}

extension SocketDiagnostics.TCPSocketEntry {
    /// From struct inet_diag_msg with INET_DIAG_MARK.
    init?(_ reply: NetlinkReply) {
        let payload = reply.payload
        guard payload.count >= 72, let family = payload.first, let state = payload.integer(at: 1, as: UInt8.self),
            let localPort = payload.integer(at: 4, as: UInt16.self),
            let remotePort = payload.integer(at: 6, as: UInt16.self)
        else { return nil }
        let width = family == UInt8(AF_INET6) ? 16 : 4
        guard let local = IPAddress(bytes: payload.dropFirst(8).prefix(width)),
            let remote = IPAddress(bytes: payload.dropFirst(24).prefix(width))
        else { return nil }
        self.local = SocketAddress(local, port: UInt16(bigEndian: localPort))
        self.remote = SocketAddress(remote, port: UInt16(bigEndian: remotePort))
        self.state = state
        self.family = family
        mark = reply.attributes(after: 72)[15]?.integer(at: 0) ?? 0
        identifier = Array(payload.dropFirst(4).prefix(48))
    }
}
