/// `v1.Event`, with a count that goes up while the same thing happens again: what every `kubectl describe` shows.
public struct Event: WritableObject {
    public static let resource = KubernetesResource(version: "v1", plural: "events", kind: "Event")

    public enum Severity: String, Sendable {
        case normal = "Normal"
        case warning = "Warning"
    }

    public var metadata = ObjectMeta()
    public var involvedObject = ObjectReference()
    public var severity = Severity.normal
    /// One word in CamelCase, for machines.
    public var reason = ""
    /// For people; at most 1024 bytes.
    public var message = ""
    public var count = 1
    public var firstTimestamp: Timestamp?
    public var lastTimestamp: Timestamp?
    /// Who says so: `culvert-agent`.
    public var component = ""
    /// The node it runs on, or its pod.
    public var instance = ""

    public init() {}

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "involvedObject": involvedObject = try ObjectReference(from: &reader)
        case "type": severity = try reader.string().flatMap { Severity(rawValue: $0) } ?? .normal
        case "reason": reason = try reader.string() ?? ""
        case "message": message = try reader.string() ?? ""
        case "count": count = try reader.integer() ?? 1
        case "firstTimestamp": firstTimestamp = try Timestamp(from: &reader)
        case "lastTimestamp": lastTimestamp = try Timestamp(from: &reader)
        case "reportingComponent": component = try reader.string() ?? ""
        case "reportingInstance": instance = try reader.string() ?? ""
        default: return false
        }
        return true
    }

    public var content: [JSONValue.Member] {
        [
            .init("involvedObject", involvedObject.json), .init("type", .string(severity.rawValue)),
            .init("reason", .string(reason)), .init("message", .string(message)), .init("count", .integer(count)),
            .init("firstTimestamp", firstTimestamp.map { .string($0.text) } ?? .null),
            .init("lastTimestamp", lastTimestamp.map { .string($0.text) } ?? .null),
            .init("source", .members(["component": .string(component), "host": .string(instance)])),
            .init("reportingComponent", .string(component)), .init("reportingInstance", .string(instance)),
        ]
    }
}
