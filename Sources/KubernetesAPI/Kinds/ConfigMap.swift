/// `v1.ConfigMap`. Binary data is neither read nor written.
public struct ConfigMap: WritableObject {
    public static let resource = KubernetesResource(version: "v1", plural: "configmaps", kind: "ConfigMap")

    public var metadata = ObjectMeta()
    public var data: [String: String] = [:]
    public var isImmutable = false

    public init() {}

    public init(metadata: ObjectMeta, data: [String: String]) {
        self.metadata = metadata
        self.data = data
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "data": data = try reader.strings()
        case "immutable": isImmutable = try reader.bool() ?? false
        default: return false
        }
        return true
    }

    public var content: [JSONValue.Member] {
        [.init("data", .strings(data))] + (isImmutable ? [.init("immutable", .bool(true))] : [])
    }
}
