import CLinux
import Glibc
public import IPAddressing

/// TCP sockets of the calling thread's network namespace: always non-blocking and close-on-exec.
public enum TCPSocket {
    public struct ListenOptions: Sendable {
        /// IP_TRANSPARENT: takes connections to any address that the redirection steers here. Needs CAP_NET_ADMIN.
        public var transparent = false
        public var reusePort = true
        /// SO_MARK, which accepted sockets inherit.
        public var mark: UInt32?
        public var backlog: Int32 = 1024

        public init(transparent: Bool = false, reusePort: Bool = true, mark: UInt32? = nil, backlog: Int32 = 1024) {
            self.transparent = transparent
            self.reusePort = reusePort
            self.mark = mark
            self.backlog = backlog
        }
    }

    public struct ConnectOptions: Sendable {
        /// SO_MARK.
        public var mark: UInt32?
        /// Connects from this address, which need not be one of the host's, and a port of the kernel's choice. Of the
        /// destination's family. Needs CAP_NET_ADMIN.
        public var source: IPAddress?
        /// Leaves by the loopback interface whatever the routes say.
        public var bindToLoopback = false
        /// The ports to choose from. (IP_LOCAL_PORT_RANGE only narrows the namespace's own range, which is that of its
        /// other clients; so the port is bound here, and EADDRNOTAVAIL tells that none was found free.)
        public var localPortRange: ClosedRange<UInt16>?

        public init(
            mark: UInt32? = nil, source: IPAddress? = nil, bindToLoopback: Bool = false,
            localPortRange: ClosedRange<UInt16>? = nil
        ) {
            self.mark = mark
            self.source = source
            self.bindToLoopback = bindToLoopback
            self.localPortRange = localPortRange
        }
    }

    /// `dualStack` matters for `[::]` only: it takes IPv4 too.
    public static func listen(
        on address: SocketAddress, dualStack: Bool, options: ListenOptions = ListenOptions()
    ) throws(Errno) -> OwnedDescriptor {
        let v6 = address.ip.family == .v6
        let socket = try make(v6: v6)
        try set(socket, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR")
        if options.reusePort { try set(socket, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT") }
        if v6 { try set(socket, Int32(IPPROTO_IPV6), IPV6_V6ONLY, dualStack ? 0 : 1, "IPV6_V6ONLY") }
        if let mark = options.mark { try setMark(socket, mark) }
        if options.transparent { try checked(clinux_transparent(socket.raw, v6), "set IP_TRANSPARENT") }
        var endpoint = clinux_endpoint(address, onV6Socket: v6)
        try checked(clinux_bind(socket.raw, &endpoint), "bind \(address)")
        try checked(clinux_listen(socket.raw, options.backlog), "listen on \(address)")
        return socket
    }

    /// Begins to connect: the descriptor becomes writable when it is done, and `pendingError` then tells how it went.
    public static func connect(
        to address: SocketAddress, options: ConnectOptions = ConnectOptions()
    ) throws(Errno) -> OwnedDescriptor {
        guard let range = options.localPortRange else { return try connect(to: address, options, port: 0) }
        var attempts = 0
        while true {
            attempts += 1
            do throws(Errno) {
                return try connect(to: address, options, port: .random(in: range))
            } catch  where [EADDRINUSE, EADDRNOTAVAIL].contains(error.code) && attempts < portAttemptsMax {
                continue
            }
        }
    }

    private static let portAttemptsMax = 16

    private static func connect(
        to address: SocketAddress, _ options: ConnectOptions, port: UInt16
    ) throws(Errno) -> OwnedDescriptor {
        let v6 = address.ip.family == .v6
        let socket = try make(v6: v6)
        if let mark = options.mark { try setMark(socket, mark) }
        // The loopback interface is number 1 in every namespace.
        if options.bindToLoopback { try set(socket, SOL_SOCKET, SO_BINDTOIFINDEX, 1, "SO_BINDTOIFINDEX") }
        if let source = options.source {
            guard source.family == address.ip.family else {
                throw Errno(code: EAFNOSUPPORT, call: "connect to \(address) from \(source)")
            }
            try checked(clinux_transparent(socket.raw, v6), "set IP_TRANSPARENT")
            try checked(clinux_free_bind(socket.raw, v6), "set IP_FREEBIND")
        }
        if port == 0 {
            try checked(clinux_bind_address_no_port(socket.raw), "set IP_BIND_ADDRESS_NO_PORT")
        } else {
            // One port may serve several destinations.
            try set(socket, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR")
        }
        if options.source != nil || port != 0 {
            let source = SocketAddress(options.source ?? .unspecified(address.ip.family), port: port)
            var endpoint = clinux_endpoint(source, onV6Socket: v6)
            try checked(clinux_bind(socket.raw, &endpoint), "bind to source \(source)")
        }
        var endpoint = clinux_endpoint(address, onV6Socket: v6)
        let result = clinux_connect(socket.raw, &endpoint)
        if result != -EINPROGRESS { try checked(result, "connect to \(address)") }
        return socket
    }

    /// `nil` when nobody waits. A connection that its peer gave up before it was accepted is skipped.
    ///
    /// When an error `isExhaustion`, the connection still waits, and an edge-triggered listener will not be reported
    /// again for it: try later, by a timer.
    public static func accept(_ listener: Int32) throws(Errno) -> OwnedDescriptor? {
        while true {
            let result = clinux_accept(listener)
            switch -result {
            case EAGAIN:
                return nil
            case EINTR, ECONNABORTED, EPROTO, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH, ENOPROTOOPT:
                // Errors of the connection, which accept(2) on Linux passes on.
                continue
            default:
                return OwnedDescriptor(adopting: try checked(result, "accept"))
            }
        }
    }

    private static func make(v6: Bool) throws(Errno) -> OwnedDescriptor {
        let descriptor = clinux_socket(v6 ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        return OwnedDescriptor(adopting: try checked(descriptor, v6 ? "open IPv6 socket" : "open IPv4 socket"))
    }

    private static func setMark(_ socket: borrowing OwnedDescriptor, _ mark: UInt32) throws(Errno) {
        try set(socket, SOL_SOCKET, SO_MARK, Int32(bitPattern: mark), "SO_MARK")
    }

    private static func set(
        _ socket: borrowing OwnedDescriptor, _ level: Int32, _ name: Int32, _ value: Int32, _ option: String
    ) throws(Errno) {
        try checked(clinux_set_option(socket.raw, level, name, value), "set \(option)")
    }
}
