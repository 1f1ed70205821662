/// `v1.ServiceAccount`.
public struct ServiceAccount: KubernetesObject {
    public static let resource = KubernetesResource(version: "v1", plural: "serviceaccounts", kind: "ServiceAccount")

    public var metadata = ObjectMeta()

    public init() {}

    public init(metadata: ObjectMeta) {
        self.metadata = metadata
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        guard key == "metadata" else { return false }
        metadata = try ObjectMeta(from: &reader)
        return true
    }
}
