/// What only the agent knows, for `culvert agent status`: it is left in the run directory, and read also when the agent is gone.
///
/// What the kernel has is not in it: that is read from the kernel.
public struct AgentReport: Codable, Hashable, Sendable {
    /// What the agent has chosen by itself, and why so.
    public struct Choice: Codable, Hashable, Sendable {
        public var chosen: String
        /// As its option said.
        public var asked: String
        public var reason: String

        public init(chosen: String, asked: String, reason: String) {
            self.chosen = chosen
            self.asked = asked
            self.reason = reason
        }
    }

    public struct Pod: Codable, Hashable, Sendable {
        public var uid: String
        public var name: String?
        public var namespace: String?
        /// `recorded`, `enrolled`, `waiting`, `draining` or `leaving`.
        public var phase: String
        /// Why it waits, or cannot leave.
        public var failure: String?
        /// A connected proxy has said that it serves the pod.
        public var isServed: Bool
        /// Takes no plaintext but the kubelet's; what else passes in plaintext is on the pod's own record.
        public var isStrict: Bool?
        /// How often each part was found missing or changed, since the agent started.
        public var drifts: [String: Int]
    }

    /// A proxy that is connected, or was refused.
    public struct Proxy: Codable, Hashable, Sendable {
        public var pid: Int32
        /// Why it is given no pods.
        public var refusal: String?

        public init(pid: Int32, refusal: String?) {
            self.pid = pid
            self.refusal = refusal
        }
    }

    public var pid: Int32
    public var node: String
    /// Seconds since 1970.
    public var startedAt: Int64
    /// How connections are captured: `nft` or `ebpf`.
    public var backend: Choice
    /// How the kubelet's probes of strict pods are recognised: `flow`, `snat` or `off`.
    public var probesBy: Choice
    /// `enforce`, `audit` or `off`.
    public var guardMode: String
    public var pinDirectory: String
    public var proxyCgroup: String?
    /// By what the proxy's connections are told from applications'.
    public var proxyKnown: String
    public var proxies: [Proxy] = []
    public var pods: [Pod] = []
    /// Of what all pods share: enrolled addresses that the guard did not know any more.
    public var nodeDrifts: [String: Int] = [:]
    /// Whose connections to strict pods are taken for the kubelet's: a cgroup, or why nobody's are.
    public var probes: String?
    /// Connections of the kubelet's that were seen on their way to a strict pod; and of them, those that were not recognised in it, and
    /// refused.
    public var probesNoted: UInt64?
    public var probesMissed: UInt64?
    /// Which source the kubelet's connections are given, and of the rules for it what they are compared by; nil where none are.
    public var probeSource: String?
    public var probeRules: String?

    public init(
        pid: Int32, node: String, startedAt: Int64, backend: Choice, probesBy: Choice, guardMode: String,
        pinDirectory: String,
        proxyCgroup: String?, proxyKnown: String
    ) {
        self.pid = pid
        self.node = node
        self.startedAt = startedAt
        self.backend = backend
        self.probesBy = probesBy
        self.guardMode = guardMode
        self.pinDirectory = pinDirectory
        self.proxyCgroup = proxyCgroup
        self.proxyKnown = proxyKnown
    }
}
