/// `v1.Namespace`.
public struct Namespace: KubernetesObject {
    public static let resource = KubernetesResource(
        version: "v1", plural: "namespaces", kind: "Namespace", isNamespaced: false)

    public var metadata = ObjectMeta()
    /// `Active`, or `Terminating`.
    public var phase = ""

    public init() {}

    public init(metadata: ObjectMeta, phase: String = "Active") {
        self.metadata = metadata
        self.phase = phase
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "status":
            guard try reader.beginObject() else { return true }
            while let key = try reader.key() {
                if key == "phase" { phase = try reader.string() ?? "" } else { try reader.skip() }
            }
        default: return false
        }
        return true
    }
}
