/// `v1.PodStatus`.
public struct PodStatus: Sendable, Hashable, JSONReadable {
    public enum Phase: String, Sendable {
        case pending = "Pending"
        case running = "Running"
        case succeeded = "Succeeded"
        case failed = "Failed"
        /// Also what a later version of the API may add.
        case unknown = "Unknown"
    }

    public var phase = Phase.unknown
    public var reason = ""
    public var podIP: String?
    /// All addresses, the first of which is `podIP`.
    public var podIPs: [String] = []
    public var hostIP: String?
    public var hostIPs: [String] = []
    public var startTime: Timestamp?
    /// `Guaranteed`, `Burstable` or `BestEffort`: a part of the pod's cgroup path.
    public var qosClass = ""
    public var conditions: [Condition] = []
    public var initContainerStatuses: [ContainerStatus] = []
    public var containerStatuses: [ContainerStatus] = []

    public init() {}

    public init(
        phase: Phase, podIPs: [String] = [], hostIP: String? = nil, conditions: [Condition] = [],
        containerStatuses: [ContainerStatus] = []
    ) {
        self.phase = phase
        podIP = podIPs.first
        self.podIPs = podIPs
        self.hostIP = hostIP
        self.conditions = conditions
        self.containerStatuses = containerStatuses
    }

    public func condition(_ type: String) -> Condition? {
        conditions.first { $0.type == type }
    }

    /// What takes part in services: the kubelet's own verdict with all readiness gates.
    public var isReady: Bool { condition("Ready")?.isTrue ?? false }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "phase": phase = try reader.string().flatMap { Phase(rawValue: $0) } ?? .unknown
        case "reason": reason = try reader.string() ?? ""
        case "podIP": podIP = try reader.nonEmptyString()
        case "podIPs": podIPs = try reader.addresses()
        case "hostIP": hostIP = try reader.nonEmptyString()
        case "hostIPs": hostIPs = try reader.addresses()
        case "startTime": startTime = try Timestamp(from: &reader)
        case "qosClass": qosClass = try reader.string() ?? ""
        case "conditions": conditions = try reader.list { try Condition(from: &$0) }
        case "initContainerStatuses": initContainerStatuses = try reader.list { try ContainerStatus(from: &$0) }
        case "containerStatuses": containerStatuses = try reader.list { try ContainerStatus(from: &$0) }
        default: return false
        }
        return true
    }
}

extension JSONReader {
    /// A list of `{"ip": …}`.
    fileprivate mutating func addresses() throws -> [String] {
        try list { reader in
            guard try reader.beginObject() else { return nil }
            var address: String?
            while let key = try reader.key() {
                if key == "ip" { address = try reader.nonEmptyString() } else { try reader.skip() }
            }
            return address
        }
    }
}

/// `v1.ContainerStatus`.
public struct ContainerStatus: Sendable, Hashable, JSONReadable {
    public enum State: String, Sendable {
        case waiting
        case running
        case terminated
    }

    public var name = ""
    /// With the runtime's prefix: `containerd://…`. Nil before the container is created.
    public var containerID: String?
    public var isReady = false
    public var restartCount = 0
    /// Waiting where the status says none.
    public var state = State.waiting

    public init() {}

    public init(name: String, containerID: String?, isReady: Bool = true, state: State = .running) {
        self.name = name
        self.containerID = containerID
        self.isReady = isReady
        self.state = state
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "name": name = try reader.string() ?? ""
        case "containerID": containerID = try reader.nonEmptyString()
        case "ready": isReady = try reader.bool() ?? false
        case "restartCount": restartCount = try reader.integer() ?? 0
        case "state":
            guard try reader.beginObject() else { return true }
            while let key = try reader.key() {
                if let state = State(rawValue: key), try reader.beginObject() {
                    self.state = state
                    while try reader.key() != nil { try reader.skip() }
                } else if State(rawValue: key) == nil {
                    try reader.skip()
                }
            }
        default: return false
        }
        return true
    }
}
