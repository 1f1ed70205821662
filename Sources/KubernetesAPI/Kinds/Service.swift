/// `v1.Service`.
public struct Service: KubernetesObject {
    public static let resource = KubernetesResource(version: "v1", plural: "services", kind: "Service")

    public var metadata = ObjectMeta()
    public var spec = ServiceSpec()

    public init() {}

    public init(metadata: ObjectMeta, spec: ServiceSpec) {
        self.metadata = metadata
        self.spec = spec
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "spec": spec = try ServiceSpec(from: &reader)
        default: return false
        }
        return true
    }
}

/// `v1.ServiceSpec`.
public struct ServiceSpec: Sendable, Hashable, JSONReadable {
    public enum Kind: String, Sendable {
        case clusterIP = "ClusterIP"
        case nodePort = "NodePort"
        case loadBalancer = "LoadBalancer"
        case externalName = "ExternalName"
    }

    public var type = Kind.clusterIP
    /// As the API has it: an address, `None`, or empty while none is assigned.
    public var clusterIP = ""
    public var clusterIPs: [String] = []
    public var ipFamilies: [String] = []
    public var ports: [ServicePort] = []
    public var selector: [String: String] = [:]
    public var publishNotReadyAddresses = false
    public var externalName: String?
    public var sessionAffinity = ""
    /// `Cluster`, or `Local`.
    public var internalTrafficPolicy = ""
    public var trafficDistribution: String?

    public init() {}

    public init(
        type: Kind = .clusterIP, clusterIPs: [String] = [], ports: [ServicePort] = [],
        selector: [String: String] = [:], publishNotReadyAddresses: Bool = false
    ) {
        self.type = type
        clusterIP = clusterIPs.first ?? ""
        self.clusterIPs = clusterIPs
        self.ports = ports
        self.selector = selector
        self.publishNotReadyAddresses = publishNotReadyAddresses
    }

    public var isHeadless: Bool { clusterIP == "None" }

    /// The assigned addresses: none for a headless service and for an external name.
    public var addresses: [String] {
        let all = clusterIPs.isEmpty ? [clusterIP] : clusterIPs
        return type == .externalName ? [] : all.filter { !$0.isEmpty && $0 != "None" }
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "type": type = try reader.string().flatMap { Kind(rawValue: $0) } ?? .clusterIP
        case "clusterIP": clusterIP = try reader.string() ?? ""
        case "clusterIPs": clusterIPs = try reader.stringList()
        case "ipFamilies": ipFamilies = try reader.stringList()
        case "ports": ports = try reader.list { try ServicePort(from: &$0) }
        case "selector": selector = try reader.strings()
        case "publishNotReadyAddresses": publishNotReadyAddresses = try reader.bool() ?? false
        case "externalName": externalName = try reader.nonEmptyString()
        case "sessionAffinity": sessionAffinity = try reader.string() ?? ""
        case "internalTrafficPolicy": internalTrafficPolicy = try reader.string() ?? ""
        case "trafficDistribution": trafficDistribution = try reader.nonEmptyString()
        default: return false
        }
        return true
    }
}

/// `v1.ServicePort`.
public struct ServicePort: Sendable, Hashable, JSONReadable {
    /// Empty where the service has one port only.
    public var name = ""
    /// `TCP`, `UDP` or `SCTP`.
    public var transport = "TCP"
    public var port = 0
    /// The service's own port where it is absent.
    public var targetPort: IntOrString?
    public var nodePort: Int?
    public var appProtocol: String?

    public init() {}

    public init(name: String = "", port: Int, targetPort: IntOrString? = nil, transport: String = "TCP") {
        self.name = name
        self.port = port
        self.targetPort = targetPort
        self.transport = transport
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "name": name = try reader.string() ?? ""
        case "protocol": transport = try reader.nonEmptyString() ?? "TCP"
        case "port": port = try reader.integer() ?? 0
        case "targetPort": targetPort = try IntOrString(from: &reader)
        case "nodePort": nodePort = try reader.integer()
        case "appProtocol": appProtocol = try reader.nonEmptyString()
        default: return false
        }
        return true
    }
}
