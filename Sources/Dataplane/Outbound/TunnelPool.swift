import IPAddressing
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
    private var groups: [Key: TunnelGroup] = [:]

    init(pod: PodProxy) { self.pod = pod }

    /// Peers to which there are tunnels, or connections that wait for one.
    var peerCount: Int { groups.count }

    /// Puts the stream on a tunnel to the peer: a live one, one that is being dialled, or a new one; or lets it wait.
    ///
    /// - Throws: why it must be refused.
    func carry(_ stream: OutboundStream, to key: Key, contexts: IdentityContexts) throws(ConnectionFailure) {
        let group = groups[key] ?? TunnelGroup(key: key, pod: pod)
        groups[key] = group
        defer { if group.isEmpty { remove(group) } }
        try group.carry(stream, contexts: contexts)
    }

    func remove(_ group: TunnelGroup) {
        if groups[group.key] === group { groups[group.key] = nil }
    }

    /// New streams need new connections from now on; the present ones end with their last stream.
    func retire() { for group in groups.values { group.retire() } }
}
