/// `discovery.k8s.io/v1.EndpointSlice`: some of a service's endpoints, in one address family.
public struct EndpointSlice: KubernetesObject {
    public static let resource = KubernetesResource(
        group: "discovery.k8s.io", version: "v1", plural: "endpointslices", kind: "EndpointSlice")
    /// The label that names the service, in the slice's own namespace.
    public static let serviceNameLabel = "kubernetes.io/service-name"

    public var metadata = ObjectMeta()
    /// `IPv4`, `IPv6` or `FQDN`.
    public var addressType = ""
    public var endpoints: [SliceEndpoint] = []
    public var ports: [EndpointPort] = []

    public init() {}

    public init(
        metadata: ObjectMeta, addressType: String = "IPv4", endpoints: [SliceEndpoint] = [], ports: [EndpointPort] = []
    ) {
        self.metadata = metadata
        self.addressType = addressType
        self.endpoints = endpoints
        self.ports = ports
    }

    /// The service's name; nil for a slice that belongs to none.
    public var serviceName: String? { metadata.labels[Self.serviceNameLabel].flatMap { $0.isEmpty ? nil : $0 } }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "addressType": addressType = try reader.string() ?? ""
        case "endpoints": endpoints = try reader.list { try SliceEndpoint(from: &$0) }
        case "ports": ports = try reader.list { try EndpointPort(from: &$0) }
        default: return false
        }
        return true
    }
}

/// `discovery.k8s.io/v1.Endpoint`.
public struct SliceEndpoint: Sendable, Hashable, JSONReadable {
    public var addresses: [String] = []
    /// Nil is to be taken for true; see `isReady`.
    public var ready: Bool?
    /// Nil is to be taken for the value of ready.
    public var serving: Bool?
    /// Nil is to be taken for false.
    public var terminating: Bool?
    public var hostname: String?
    public var nodeName: String?
    public var zone: String?
    public var targetRef: ObjectReference?

    public init() {}

    public init(
        addresses: [String], ready: Bool? = nil, serving: Bool? = nil, terminating: Bool? = nil,
        nodeName: String? = nil, targetRef: ObjectReference? = nil
    ) {
        self.addresses = addresses
        self.ready = ready
        self.serving = serving
        self.terminating = terminating
        self.nodeName = nodeName
        self.targetRef = targetRef
    }

    public var isReady: Bool { ready ?? true }
    public var isServing: Bool { serving ?? isReady }
    public var isTerminating: Bool { terminating ?? false }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "addresses": addresses = try reader.stringList()
        case "hostname": hostname = try reader.nonEmptyString()
        case "nodeName": nodeName = try reader.nonEmptyString()
        case "zone": zone = try reader.nonEmptyString()
        case "targetRef":
            let reference = try ObjectReference(from: &reader)
            targetRef = reference == ObjectReference() ? nil : reference
        case "conditions":
            guard try reader.beginObject() else { return true }
            while let key = try reader.key() {
                switch key {
                case "ready": ready = try reader.bool()
                case "serving": serving = try reader.bool()
                case "terminating": terminating = try reader.bool()
                default: try reader.skip()
                }
            }
        default: return false
        }
        return true
    }
}

/// `discovery.k8s.io/v1.EndpointPort`: the target ports, already looked up per pod.
public struct EndpointPort: Sendable, Hashable, JSONReadable {
    /// The service port's name.
    public var name = ""
    public var transport = "TCP"
    /// Nil stands for every port (a slice that no controller of services made).
    public var port: Int?
    public var appProtocol: String?

    public init() {}

    public init(name: String = "", port: Int?, transport: String = "TCP") {
        self.name = name
        self.port = port
        self.transport = transport
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "name": name = try reader.string() ?? ""
        case "protocol": transport = try reader.nonEmptyString() ?? "TCP"
        case "port": port = try reader.integer()
        case "appProtocol": appProtocol = try reader.nonEmptyString()
        default: return false
        }
        return true
    }
}
