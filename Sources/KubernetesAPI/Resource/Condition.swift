/// A condition of a pod's or node's status.
public struct Condition: Sendable, Hashable, JSONReadable {
    public var type = ""
    /// `True`, `False` or `Unknown`.
    public var status = ""
    public var reason = ""
    public var message = ""
    public var lastTransitionTime: Timestamp?

    public init() {}

    public init(
        type: String, status: String, reason: String = "", message: String = "", lastTransitionTime: Timestamp? = nil
    ) {
        self.type = type
        self.status = status
        self.reason = reason
        self.message = message
        self.lastTransitionTime = lastTransitionTime
    }

    public var isTrue: Bool { status == "True" }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "type": type = try reader.string() ?? ""
        case "status": status = try reader.string() ?? ""
        case "reason": reason = try reader.string() ?? ""
        case "message": message = try reader.string() ?? ""
        case "lastTransitionTime": lastTransitionTime = try Timestamp(from: &reader)
        default: return false
        }
        return true
    }

    public var json: JSONValue {
        .members([
            "type": .string(type), "status": .string(status), "reason": reason.isEmpty ? nil : .string(reason),
            "message": message.isEmpty ? nil : .string(message),
            "lastTransitionTime": lastTransitionTime.map { .string($0.text) },
        ])
    }
}
