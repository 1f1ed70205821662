import Glibc
public import IPAddressing
public import LinuxNetworking

/// Which network namespace it is, among those alive.
public struct NamespaceID: Hashable, Sendable {
    public let device: UInt64
    public let inode: UInt64

    public init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }

    public init(_ namespace: NetworkNamespace) {
        self.init(device: namespace.device, inode: namespace.inode)
    }
}

/// The network namespaces of the node's pods.
public protocol PodNamespaces: Sendable {
    /// What is at the path now; nil when there is nothing. Costs one system call.
    func id(at path: String) -> NamespaceID?
    func open(path: String) throws -> NetworkNamespace
    /// The addresses of all interfaces in it.
    func addresses(in namespace: NetworkNamespace) throws -> Set<IPAddress>
}

/// The kernel's.
public struct KernelPodNamespaces: PodNamespaces {
    public init() {}

    public func id(at path: String) -> NamespaceID? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return NamespaceID(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    public func open(path: String) throws -> NetworkNamespace { try NetworkNamespace(path: path) }

    public func addresses(in namespace: NetworkNamespace) throws -> Set<IPAddress> {
        try namespace.run {
            var first: UnsafeMutablePointer<ifaddrs>?
            guard getifaddrs(&first) == 0 else { throw Errno(code: errno, call: "getifaddrs") }
            defer { freeifaddrs(first) }
            var addresses: Set<IPAddress> = []
            for entry in sequence(first: first, next: { $0?.pointee.ifa_next }) {
                guard let name = entry?.pointee.ifa_addr, let address = IPAddress(name) else { continue }
                addresses.insert(address)
            }
            return addresses
        }
    }
}

extension IPAddress {
    /// nil for other families than IPv4 and IPv6.
    fileprivate init?(_ name: UnsafeMutablePointer<sockaddr>) {
        let raw = UnsafeRawPointer(name)
        switch Int32(name.pointee.sa_family) {
        case AF_INET:
            var address = raw.loadUnaligned(as: sockaddr_in.self).sin_addr
            self.init(bytes: withUnsafeBytes(of: &address) { Array($0) })
        case AF_INET6:
            var address = raw.loadUnaligned(as: sockaddr_in6.self).sin6_addr
            self.init(bytes: withUnsafeBytes(of: &address) { Array($0) })
        default:
            return nil
        }
    }
}
