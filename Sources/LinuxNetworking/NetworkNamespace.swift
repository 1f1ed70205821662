import CLinux
import Glibc

/// A network namespace, kept alive by the descriptor held here.
///
/// Dropping the last reference closes the descriptor; the kernel then frees the namespace if nothing else is in it.
public final class NetworkNamespace: Sendable {
    private let owned: OwnedDescriptor
    /// With `device`, the identity of the namespace as long as it lives; both may be reused afterwards.
    public let inode: UInt64
    public let device: UInt64

    /// Opens for example `/run/netns/web-1` or `/proc/1/ns/net`.
    public convenience init(path: String) throws(Errno) {
        let descriptor = try checked(clinux_open(path, O_RDONLY, 0), "open network namespace \(path)")
        try self.init(adopting: OwnedDescriptor(adopting: descriptor))
    }

    /// Refuses, with EINVAL or ENOTTY, a descriptor of anything but a network namespace: it may come from a peer.
    public init(adopting descriptor: consuming OwnedDescriptor) throws(Errno) {
        try checked(clinux_check_network_namespace(descriptor.raw), "check that the descriptor is a network namespace")
        var status = stat()
        guard fstat(descriptor.raw, &status) == 0 else { throw Errno(code: errno, call: "fstat network namespace") }
        inode = UInt64(status.st_ino)
        device = UInt64(status.st_dev)
        owned = descriptor
    }

    /// The calling thread's.
    public static func current() throws(Errno) -> NetworkNamespace {
        try NetworkNamespace(path: "/proc/thread-self/ns/net")
    }

    /// The one that a socket belongs to, wherever the socket came from. Needs CAP_NET_ADMIN there.
    public convenience init(ofSocket descriptor: Int32) throws(Errno) {
        let namespace = try checked(clinux_socket_network(descriptor), "find the socket's network namespace")
        try self.init(adopting: OwnedDescriptor(adopting: namespace))
    }

    /// A new, empty namespace with only a loopback interface, down. Costs a moment of the calling thread, which stays
    /// where it was.
    public static func make() throws(Errno) -> NetworkNamespace {
        let home = try current()
        try checked(clinux_unshare_network(), "unshare network namespace")
        defer { home.enterOrDie() }
        return try current()
    }

    /// The calling thread's own number, which is never used again until the next boot (SO_NETNS_COOKIE). ENOPROTOOPT before 5.14.
    public static func cookie() throws(Errno) -> UInt64 {
        let socket = OwnedDescriptor(
            adopting: try checked(clinux_socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0), "open socket"))
        var cookie: UInt64 = 0
        var length = socklen_t(MemoryLayout<UInt64>.size)
        guard getsockopt(socket.raw, SOL_SOCKET, 71, &cookie, &length) == 0 else {
            throw Errno(code: errno, call: "ask for the network namespace's cookie")
        }
        return cookie
    }

    /// Open as long as this object lives.
    public var descriptor: Int32 { owned.raw }

    /// The same namespace, not just an equal path.
    public func isSame(as other: NetworkNamespace) -> Bool { inode == other.inode && device == other.device }

    /// Runs `body` with the calling thread inside the namespace, and comes back whatever `body` does.
    ///
    /// A socket belongs to the namespace it was made in, so a body that makes one is all that most callers need. The
    /// process is ended if the thread cannot come back: it would go on in a stranger's network.
    /// The body is synchronous on purpose: across an `await` the task could continue on another thread.
    public func run<R: ~Copyable>(_ body: () throws -> R) throws -> R {
        try run(from: NetworkNamespace.current(), body)
    }

    /// The same, for a thread that knows its own namespace: `home`, and nothing else, is what it comes back to.
    public func run<R: ~Copyable>(from home: NetworkNamespace, _ body: () throws -> R) throws -> R {
        if isSame(as: home) { return try body() }
        try checked(clinux_setns_network(descriptor), "enter network namespace")
        defer { home.enterOrDie() }
        return try body()
    }

    private func enterOrDie() {
        let result = clinux_setns_network(descriptor)
        if result < 0 { fatalError("cannot return to the thread's own network namespace: errno \(-result)") }
    }
}
