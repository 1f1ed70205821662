/// Which ports the redirection leads where, and which connections it leaves alone.
public struct RedirectionPlan: Hashable, Sendable {
    /// Where the proxy takes what the pod sends: 127.0.0.1 and ::1.
    public var outboundPort: UInt16 = 15001
    /// Where the proxy takes plaintext sent to the pod, on a transparent socket.
    public var inboundPort: UInt16 = 15006
    /// Where the proxy takes tunnels; not redirected.
    public var tunnelPort: UInt16 = 15008
    /// What goes around the proxy, in plaintext.
    public var exclusions = PodExclusions()
    /// The kubelet's connections reach the application, as far as they can be recognised.
    public var isProbed = false
    /// By which they are recognised, where the node gives them a source of their own; nil where they are by what the guard notes.
    public var probeSource: ProbeSource?

    /// By which the nft backend knows the proxy, besides its mark; `nil` where that is not possible. (The other backend has its own way.)
    public var proxyCgroup: NFTCgroup?

    public init() {}

    /// SO_MARK of the proxy's sockets, under `markMask`: passed by the redirection and by the guard.
    public static let proxyMark: UInt32 = 0x539
    /// SO_MARK of the proxy's sockets towards the application with the client's own address: routed to loopback.
    public static let loopMark: UInt32 = 0x53a
    /// The mark of the kubelet's connections, set where they enter the pod: passed by the rules.
    public static let probeMark: UInt32 = 0x53b
    /// The bits of a mark that are looked at; others may be the CNI's.
    public static let markMask: UInt32 = 0xfff
    /// The routing table of `loopMark`.
    public static let loopTable: UInt32 = 133
    /// The priority of its rule: after the local table, before the main one.
    public static let loopPriority: UInt32 = 100
}
