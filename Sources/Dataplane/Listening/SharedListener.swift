internal import Glibc
public import IPAddressing
public import LinuxNetworking

/// A listening socket of a pod that two proxies hold while one takes over from the other: a connection that waits in it is
/// accepted by either.
public final class SharedListener: Sendable {
    /// What it listens on, as both proxies plan it.
    public let address: SocketAddress
    private let owned: OwnedDescriptor

    public init(address: SocketAddress, adopting descriptor: consuming OwnedDescriptor) {
        self.address = address
        owned = descriptor
    }

    /// Open as long as this object lives.
    public var descriptor: Int32 { owned.raw }

    func duplicate() throws(Errno) -> OwnedDescriptor { try owned.duplicate() }

    /// Whether it is what it is said to be, and the pod's: it came from another process, perhaps from before the pod got the
    /// network namespace that it has now.
    func listens(in namespace: NetworkNamespace) -> Bool {
        guard TCPSocket.isListening(descriptor), let local = TCPSocket.localAddress(descriptor),
            local.port == address.port, local.ip == address.ip || local.ip.isUnspecified && address.ip.isUnspecified,
            let home = try? NetworkNamespace(ofSocket: descriptor)
        else { return false }
        return home.isSame(as: namespace)
    }

    /// What each of `count` loops is to accept from: sockets are spread, and shared where there are fewer than loops.
    static func shares(of listeners: [SharedListener], among count: Int) -> [[SharedListener]] {
        var shares: [[SharedListener]] = Array(repeating: [], count: count)
        for (_, sockets) in Dictionary(grouping: listeners, by: \.address) {
            for index in 0..<max(count, sockets.count) {
                shares[index % count].append(sockets[index % sockets.count])
            }
        }
        return shares
    }
}
