/// `v1.Node`.
public struct Node: KubernetesObject {
    public static let resource = KubernetesResource(version: "v1", plural: "nodes", kind: "Node", isNamespaced: false)

    public var metadata = ObjectMeta()
    public var podCIDRs: [String] = []
    public var isUnschedulable = false
    /// In the order in which the API has them: a JSON patch names one by its place.
    public var taints: [Taint] = []
    public var addresses: [NodeAddress] = []
    public var conditions: [Condition] = []

    public init() {}

    public init(metadata: ObjectMeta, podCIDRs: [String] = [], addresses: [NodeAddress] = []) {
        self.metadata = metadata
        self.podCIDRs = podCIDRs
        self.addresses = addresses
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "spec":
            guard try reader.beginObject() else { return true }
            while let key = try reader.key() {
                switch key {
                case "podCIDR":
                    // What there was before two families; `podCIDRs` has it first.
                    let range = try reader.nonEmptyString()
                    if podCIDRs.isEmpty, let range { podCIDRs = [range] }
                case "podCIDRs":
                    let ranges = try reader.stringList()
                    if !ranges.isEmpty { podCIDRs = ranges }
                case "taints": taints = try reader.list { try Taint(from: &$0) }
                case "unschedulable": isUnschedulable = try reader.bool() ?? false
                default: try reader.skip()
                }
            }
        case "status":
            guard try reader.beginObject() else { return true }
            while let key = try reader.key() {
                switch key {
                case "addresses": addresses = try reader.list { try NodeAddress(from: &$0) }
                case "conditions": conditions = try reader.list { try Condition(from: &$0) }
                default: try reader.skip()
                }
            }
        default: return false
        }
        return true
    }
}

/// `v1.NodeAddress`.
public struct NodeAddress: Sendable, Hashable, JSONReadable {
    /// `InternalIP`, `ExternalIP`, `Hostname`, …
    public var type = ""
    public var address = ""

    public init() {}

    public init(type: String, address: String) {
        self.type = type
        self.address = address
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "type": type = try reader.string() ?? ""
        case "address": address = try reader.string() ?? ""
        default: return false
        }
        return true
    }
}

/// `v1.Taint`.
public struct Taint: Sendable, Hashable, JSONReadable {
    public var key = ""
    public var value = ""
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    public var effect = ""

    public init() {}

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "key": self.key = try reader.string() ?? ""
        case "value": value = try reader.string() ?? ""
        case "effect": effect = try reader.string() ?? ""
        default: return false
        }
        return true
    }
}
