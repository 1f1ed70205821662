public import FoundationEssentials
public import KubernetesAPI

/// What an agent says of its node, in a Lease that it renews: `culvert status` reads it, and nobody else.
public struct NodeHeartbeat: Codable, Hashable, Sendable {
    /// The annotation of the Lease.
    public static let annotation = "culvert.dev/node-status"
    /// The label by which the Leases of agents are found; its value is the same for all.
    public static let label = (key: "culvert.dev/lease", value: "node-agent")
    /// A Lease that was not renewed for so long is that of an agent that is gone.
    public static let duration = Duration.seconds(40)
    public static let interval = Duration.seconds(10)

    public var node: String
    public var version: String
    public var backend: String
    public var backendReason: String
    public var guardMode: String
    /// Connected, and given pods.
    public var proxies: Int
    /// What the newest of them says of itself; nil where none does, and nothing of an older version's.
    public var proxy: ProxyReport?
    /// By phase.
    public var pods: [String: Int]
    /// What the API tells is behind, and why; nil when it is followed.
    public var interruption: String?
    /// What the agent still waits for; nil when it is ready.
    public var notReadyBecause: String?

    public static func name(ofNode node: String) -> String { "culvert-agent." + node }

    public func lease(namespace: String, now: Date) -> Lease {
        var metadata = ObjectMeta(name: Self.name(ofNode: node), namespace: namespace)
        metadata.labels = [
            Self.label.key: Self.label.value, PodExclusion.partOf.key: PodExclusion.partOf.value,
        ]
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        metadata.annotations = [
            Self.annotation: (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
        ]
        var lease = Lease(metadata: metadata, holderIdentity: node)
        lease.leaseDurationSeconds = Int(Self.duration.components.seconds)
        lease.renewTime = Timestamp(microseconds: now)
        return lease
    }

    /// nil for a Lease that this is not the form of.
    public init?(_ lease: Lease) {
        guard let text = lease.metadata.annotations[Self.annotation],
            let heartbeat = try? JSONDecoder().decode(NodeHeartbeat.self, from: Data(text.utf8))
        else { return nil }
        self = heartbeat
    }

    /// `proxy` is what one has left, however long ago: it counts while one is connected that writes it.
    public init(
        _ report: AgentReport, proxy: ProxyReport? = nil, version: String, interruption: String?,
        notReadyBecause: String?, now: Date
    ) {
        node = report.node
        self.version = version
        backend = report.backend.chosen
        backendReason = report.backend.reason
        guardMode = report.guardMode
        proxies = report.proxies.count { $0.refusal == nil }
        self.proxy = proxies > 0 ? proxy.flatMap { $0.isCurrent(at: now) ? $0 : nil } : nil
        pods = Dictionary(report.pods.map { ($0.phase, 1) }, uniquingKeysWith: +)
        self.interruption = interruption
        self.notReadyBecause = notReadyBecause
    }
}
