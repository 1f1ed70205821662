/// `metav1.Status`: what the server answers in place of an object, mostly errors.
public struct Status: Sendable, Hashable, JSONReadable {
    /// `Success` or `Failure`.
    public var status = ""
    public var message = ""
    /// `NotFound`, `Conflict`, `Expired`, … Empty where there is none.
    public var reason = ""
    /// The HTTP status; zero where there is none.
    public var code = 0
    public var retryAfterSeconds: Int?
    /// The field or cause, with its message.
    public var causes: [String] = []

    public init() {}

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "status": status = try reader.string() ?? ""
        case "message": message = try reader.string() ?? ""
        case "reason": reason = try reader.string() ?? ""
        case "code": code = try reader.integer() ?? 0
        case "details":
            guard try reader.beginObject() else { return true }
            while let key = try reader.key() {
                switch key {
                case "retryAfterSeconds": retryAfterSeconds = try reader.integer()
                case "causes":
                    causes = try reader.list { reader in
                        guard try reader.beginObject() else { return nil }
                        var (reason, message) = ("", "")
                        while let key = try reader.key() {
                            switch key {
                            case "reason": reason = try reader.string() ?? ""
                            case "message": message = try reader.string() ?? ""
                            default: try reader.skip()
                            }
                        }
                        return message.isEmpty ? reason : message
                    }
                default: try reader.skip()
                }
            }
        default: return false
        }
        return true
    }
}
