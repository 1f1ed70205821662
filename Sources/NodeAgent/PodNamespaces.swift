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

    /// nil when there is nothing at the path.
    init?(at path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        self.init(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }
}

/// Where a pod's network namespace is.
public enum PodNamespaceFinding: Hashable, Sendable {
    /// Nobody has looked yet whether there is anything, if it has no identity.
    case found(path: String, NamespaceID?)
    /// Not found, and why.
    case missing(String)
}

/// The network namespaces of the node's pods.
public protocol PodNamespaces: Sendable {
    /// By uid; pods left out have not been looked for yet, and are to be asked for again.
    func find(_ pods: [ClusterState.Pod], now: ContinuousClock.Instant) -> [String: PodNamespaceFinding]
    /// nil when it is gone, also if another one is at its path now.
    func find(_ record: PodRecord) throws -> NetworkNamespace?
    /// What is at the path now; nil when there is nothing. Costs one system call.
    func id(at path: String) -> NamespaceID?
    func open(path: String) throws -> NetworkNamespace
    /// The addresses of all interfaces in it.
    func addresses(in namespace: NetworkNamespace) throws -> Set<IPAddress>
}

extension PodNamespaces {
    /// Where the pods themselves say.
    public func find(_ pods: [ClusterState.Pod], now: ContinuousClock.Instant) -> [String: PodNamespaceFinding] {
        var findings: [String: PodNamespaceFinding] = [:]
        for pod in pods {
            guard let path = pod.netns else { continue }
            findings[pod.uid] = .found(path: path, id(at: path))
        }
        return findings
    }

    public func find(_ record: PodRecord) throws -> NetworkNamespace? {
        guard id(at: record.netns) == record.namespace else { return nil }
        let namespace = try open(path: record.netns)
        return NamespaceID(namespace) == record.namespace ? namespace : nil
    }
}

/// The kernel's.
public struct KernelPodNamespaces: PodNamespaces {
    public init() {}

    public func id(at path: String) -> NamespaceID? {
        NamespaceID(at: path)
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
