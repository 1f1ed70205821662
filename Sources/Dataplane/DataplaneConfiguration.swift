public import HBONE
public import IPAddressing
public import SPIFFE

/// What the data plane may do and for how long.
public struct DataplaneConfiguration: Sendable {
    /// The trust domain of this node's pods: a pod's identity is `spiffe://<trust domain>/ns/<namespace>/sa/<account>`.
    public var trustDomain: TrustDomain
    /// Other names of the trust domain: a peer's identity under one of them counts as its identity under ours.
    public var trustDomainAliases: TrustDomainAliases
    /// This node's name, as the mesh knows it.
    public var node: String
    /// Event loops, one thread each; every loop listens in every pod and connections stay on the loop that accepted them.
    public var loops = 1
    /// Who protects the records of tunnels.
    public var tlsRecords = TLSRecords.own(vectorAES: true)
    /// From accept on 15001 until the pod is known in the mesh and its identity is issued.
    public var holdTimeout: Duration = .seconds(10)
    /// Asks for what has an address of the mesh's ranges that the mesh does not know. `answer` is called once, on any thread: with nil
    /// when the mesh that was published by then has whatever there is of it, else with the reason why nothing is known of it.
    public var lookUp: (@Sendable (_ address: IPAddress, _ answer: @escaping @Sendable (String?) -> Void) -> Void)?
    /// From the first packet to such an address until it is refused for want of an answer.
    public var lookUpTimeout: Duration = .seconds(3)
    /// TCP connect to a peer's 15008, to the application, or to a plaintext destination.
    public var connectTimeout: Duration = .seconds(10)
    /// TLS and HTTP/2 set-up, until the peer's SETTINGS, both directions.
    public var handshakeTimeout: Duration = .seconds(10)
    /// From the beginning of a header block to its end.
    public var headerTimeout: Duration = .seconds(10)
    /// From CONNECT to its answer; longer than the peer's own connect timeout, so that the peer's reason arrives.
    public var responseTimeout: Duration = .seconds(15)
    /// What an application says first goes along with CONNECT when the peer was heard so lately, and waits for the answer otherwise:
    /// bytes that went into a dead tunnel are not said twice, so that its connection is lost.
    public var earlyDataPeriod: Duration = .milliseconds(250)
    /// A tunnel connection without streams is closed after this time.
    public var idleTunnelTimeout: Duration = .seconds(300)
    /// A tunnel on which nothing arrived for so long is asked whether the peer is still there (HTTP/2 PING).
    public var pingInterval: Duration = .seconds(10)
    /// A peer that has not answered, or has read nothing of what waits for it, for so long is taken for dead, and its connections
    /// are reset.
    public var pingTimeout: Duration = .seconds(20)
    /// A connection on which no byte moved for so long, either way, is reset. TCP knows no such limit: off unless set.
    public var streamIdleTimeout: Duration?
    /// What connections of a peer that is trusted no longer are given to end by themselves.
    public var distrustGrace: Duration = .seconds(5)
    /// Where a pod's listeners are to be put for the programs that lead connections to them, by the pod's UID; nothing happens where
    /// there is no such map, as with redirection by rules.
    public var listenerMap: (@Sendable (_ uid: String) -> String)?
    /// What each event loop may hold for others.
    public var limits = DataplaneLimits()

    public init(trustDomain: TrustDomain, node: String) {
        self.trustDomain = trustDomain
        trustDomainAliases = TrustDomainAliases(of: trustDomain)
        self.node = node
    }
}

/// Marks on the proxy's sockets inside a pod's network namespace; the redirection rules know them.
enum SocketMark {
    /// Towards peers and plaintext destinations: not to be captured again.
    static let proxy: UInt32 = 0x539
    /// Towards the application with the client's address as source, or the destination's: what is answered stays on lo.
    static let delivery: UInt32 = 0x53a
}
