import IPAddressing
import LinuxNetworking
import SPIFFE

/// The tunnels from one pod to its peers, by destination and by who must answer there.
///
/// The pod fixes the other half of the key: source identity and network namespace. A connection that is full, going
/// away, broken or made under an older certificate takes no new streams; keys without connections are removed.
final class TunnelPool {
    struct Key: Hashable {
        let endpoint: SocketAddress
        let expected: [SPIFFEID]
    }

    private unowned let pod: PodProxy
    private var tunnels: [Key: [ClientTunnel]] = [:]

    init(pod: PodProxy) { self.pod = pod }

    /// A tunnel that takes one more stream: a live one, one that is being dialled, or a new one.
    func tunnel(to key: Key, contexts: IdentityContexts) throws(Errno) -> ClientTunnel {
        if let live = tunnels[key]?.first(where: { $0.mayOpenStream }) { return live }
        let tunnel = try ClientTunnel.dial(key, from: pod, contexts: contexts)
        tunnels[key, default: []].append(tunnel)
        tunnel.start()
        return tunnel
    }

    func remove(_ tunnel: ClientTunnel) {
        tunnels[tunnel.key]?.removeAll { $0 === tunnel }
        if tunnels[tunnel.key]?.isEmpty == true { tunnels[tunnel.key] = nil }
    }

    /// New streams need new connections from now on; the present ones end with their last stream.
    func retire() {
        let all = tunnels.values.joined()
        tunnels = [:]
        for tunnel in all { tunnel.retire() }
    }
}
