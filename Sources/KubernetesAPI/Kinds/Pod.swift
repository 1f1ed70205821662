/// `v1.Pod`.
public struct Pod: KubernetesObject {
    public static let resource = KubernetesResource(version: "v1", plural: "pods", kind: "Pod")

    public var metadata = ObjectMeta()
    public var spec = PodSpec()
    public var status = PodStatus()

    public init() {}

    public init(metadata: ObjectMeta, spec: PodSpec = PodSpec(), status: PodStatus = PodStatus()) {
        self.metadata = metadata
        self.spec = spec
        self.status = status
    }

    /// Its containers have ended for good: its addresses may be another's.
    public var isTerminated: Bool { status.phase == .succeeded || status.phase == .failed }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "spec": spec = try PodSpec(from: &reader)
        case "status": status = try PodStatus(from: &reader)
        default: return false
        }
        return true
    }
}

/// `v1.PodSpec`.
public struct PodSpec: Sendable, Hashable, JSONReadable {
    /// Nil until the pod is scheduled.
    public var nodeName: String?
    public var serviceAccountName = ""
    public var hostNetwork = false
    public var restartPolicy = ""
    public var runtimeClassName: String?
    public var initContainers: [Container] = []
    public var containers: [Container] = []
    /// The conditions beside its containers' that a ready pod has.
    public var readinessGates: [String] = []

    public init() {}

    public init(
        nodeName: String? = nil, serviceAccountName: String = "default", hostNetwork: Bool = false,
        containers: [Container] = []
    ) {
        self.nodeName = nodeName
        self.serviceAccountName = serviceAccountName
        self.hostNetwork = hostNetwork
        self.containers = containers
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "nodeName": nodeName = try reader.nonEmptyString()
        case "serviceAccountName": serviceAccountName = try reader.string() ?? ""
        case "hostNetwork": hostNetwork = try reader.bool() ?? false
        case "restartPolicy": restartPolicy = try reader.string() ?? ""
        case "runtimeClassName": runtimeClassName = try reader.nonEmptyString()
        case "initContainers": initContainers = try reader.list { try Container(from: &$0) }
        case "containers": containers = try reader.list { try Container(from: &$0) }
        case "readinessGates":
            readinessGates = try reader.list { reader in
                guard try reader.beginObject() else { return nil }
                var type: String?
                while let key = try reader.key() {
                    if key == "conditionType" { type = try reader.string() } else { try reader.skip() }
                }
                return type
            }
        default: return false
        }
        return true
    }

    /// The number behind a port's name (or the number itself) for a service's protocol, as the endpoint controller finds it:
    /// among the containers, then among the init containers that go on running beside them.
    public func port(_ port: IntOrString, transport: String = "TCP") -> Int? {
        switch port {
        case .number(let number): return number
        case .name(let name):
            let serving = containers + initContainers.filter { $0.restartPolicy == "Always" }
            return serving.lazy.flatMap(\.ports).first { $0.name == name && $0.transport == transport }?.containerPort
        }
    }
}

/// `v1.Container`.
public struct Container: Sendable, Hashable, JSONReadable {
    public var name = ""
    public var ports: [ContainerPort] = []
    /// `Always` for an init container that runs beside the others.
    public var restartPolicy: String?

    public init() {}

    public init(name: String, ports: [ContainerPort] = []) {
        self.name = name
        self.ports = ports
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "name": name = try reader.string() ?? ""
        case "ports": ports = try reader.list { try ContainerPort(from: &$0) }
        case "restartPolicy": restartPolicy = try reader.nonEmptyString()
        default: return false
        }
        return true
    }
}

/// `v1.ContainerPort`.
public struct ContainerPort: Sendable, Hashable, JSONReadable {
    public var name = ""
    public var containerPort = 0
    public var hostPort: Int?
    /// `TCP`, `UDP` or `SCTP`.
    public var transport = "TCP"

    public init() {}

    public init(name: String = "", containerPort: Int, transport: String = "TCP") {
        self.name = name
        self.containerPort = containerPort
        self.transport = transport
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "name": name = try reader.string() ?? ""
        case "containerPort": containerPort = try reader.integer() ?? 0
        case "hostPort": hostPort = try reader.integer()
        case "protocol": transport = try reader.nonEmptyString() ?? "TCP"
        default: return false
        }
        return true
    }
}
