/// What one event loop may hold for others. At a bound newcomers are refused with a reason, or what holds most is cut; what lives
/// goes on.
public struct DataplaneLimits: Sendable {
    /// Sockets of connections and tunnels. Lowered at start to what the process's descriptors allow.
    public var socketsMax = 32_768
    /// Of these, for one pod of the node.
    public var socketsPerPodMax = 24_576
    /// Of these, for one address that connects to pods of the node: its tunnels, and what they ask for.
    public var socketsPerPeerMax = 16_384

    /// Inbound tunnels whose TLS and HTTP/2 are not set up yet. Beyond it the oldest makes room: a peer in good order is done
    /// in milliseconds.
    public var handshakesMax = 1024
    /// Of these, for one address; beyond it the newcomer is refused.
    public var handshakesPerPeerMax = 128
    /// How often an address may come to 15008 without proving who it is; then its connections are refused unread.
    public var failedHandshakes = Allowance.Rate(burst: 1000, perSecond: 200)
    /// How often an address may take a CONNECT back before its answer, which costs it next to nothing; then what it asks for is refused.
    public var withdrawnRequests = Allowance.Rate(burst: 1000, perSecond: 200)
    /// CONNECTs on one tunnel that are denied by what they ask for; beyond it the tunnel is ended with ENHANCE_YOUR_CALM.
    public var deniedRequests = Allowance.Rate(burst: 1000, perSecond: 200)

    /// PINGs of a peer on one tunnel; beyond it the tunnel is ended with ENHANCE_YOUR_CALM.
    public var pings = Allowance.Rate(burst: 1000, perSecond: 200)

    /// Streams on one tunnel before another is dialled.
    public var streamsPerTunnelMax = 100
    /// Tunnels from one pod to one peer. When all are full, connections wait for a stream until their CONNECT times out.
    public var tunnelsPerPeerMax = 128
    /// Of these, how many are dialled because the present ones carry as much as they can, though they have streams left.
    public var bulkTunnelsPerPeerMax = 4
    /// Connections that may wait for a stream to one peer; beyond it they are refused at once.
    public var streamsWaitingPerPeerMax = 1024

    /// Memory for bytes that applications or peers do not read: beyond it, those who hold most lose their connections.
    public var heldBytesMax = 128 << 20

    public init() {}

    /// What descriptors allow: a part is left for listeners, namespaces and the control plane.
    func fitting(descriptors: Int, loops: Int) -> DataplaneLimits {
        var limits = self
        let reserve = max(256, descriptors / 16)
        limits.socketsMax = min(socketsMax, max(64, (descriptors - reserve) / loops))
        limits.socketsPerPodMax = min(socketsPerPodMax, limits.socketsMax * 3 / 4)
        limits.socketsPerPeerMax = min(socketsPerPeerMax, limits.socketsMax / 2)
        return limits
    }
}
