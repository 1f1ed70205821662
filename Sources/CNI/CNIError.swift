/// Why a request of the container runtime's is refused (CNI specification 1.1, section 5, "Error").
public struct CNIError: Error, Hashable, Sendable {
    /// Those that the specification has a number for.
    public enum Code: Int, Sendable {
        case incompatibleVersion = 1
        case unsupportedField = 2
        case unknownContainer = 3
        case invalidEnvironment = 4
        case io = 5
        case undecodable = 6
        case invalidConfiguration = 7
        /// The runtime is to ask again later.
        case tryAgainLater = 11
        case notAvailable = 50
    }

    public let code: Code
    public let message: String
    public let details: String

    public init(_ code: Code, _ message: String, details: String = "") {
        self.code = code
        self.message = message
        self.details = details
    }

    /// What the runtime reads. `version` is that of the request, as far as it could be read.
    public func json(version: String) -> String {
        var members = [
            "\"cniVersion\": \(JSONText.quoted(version))", "\"code\": \(code.rawValue)",
            "\"msg\": \(JSONText.quoted(message))",
        ]
        if !details.isEmpty { members.append("\"details\": \(JSONText.quoted(details))") }
        return "{\(members.joined(separator: ", "))}\n"
    }
}
