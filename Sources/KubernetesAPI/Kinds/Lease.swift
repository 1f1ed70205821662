/// `coordination.k8s.io/v1.Lease`.
public struct Lease: WritableObject {
    public static let resource = KubernetesResource(
        group: "coordination.k8s.io", version: "v1", plural: "leases", kind: "Lease")

    public var metadata = ObjectMeta()
    /// Nil and empty stand for nobody.
    public var holderIdentity: String?
    public var leaseDurationSeconds: Int?
    public var renewTime: Timestamp?

    public init() {}

    public init(metadata: ObjectMeta, holderIdentity: String? = nil) {
        self.metadata = metadata
        self.holderIdentity = holderIdentity
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "spec":
            guard try reader.beginObject() else { return true }
            while let key = try reader.key() {
                switch key {
                case "holderIdentity": holderIdentity = try reader.nonEmptyString()
                case "leaseDurationSeconds": leaseDurationSeconds = try reader.integer()
                case "renewTime": renewTime = try Timestamp(from: &reader)
                default: try reader.skip()
                }
            }
        default: return false
        }
        return true
    }

    public var content: [JSONValue.Member] {
        [
            .init(
                "spec",
                .members([
                    "holderIdentity": .string(holderIdentity ?? ""),
                    "leaseDurationSeconds": leaseDurationSeconds.map { .integer($0) },
                    "renewTime": renewTime.map { .string($0.text) },
                ]))
        ]
    }
}
