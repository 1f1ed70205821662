/// `authentication.k8s.io/v1.TokenReview`: whose a token is, asked of the API server.
public struct TokenReview: WritableObject {
    public static let resource = KubernetesResource(
        group: "authentication.k8s.io", version: "v1", plural: "tokenreviews", kind: "TokenReview",
        isNamespaced: false)

    public var metadata = ObjectMeta()
    /// Sent, and never read back: the server echoes it.
    public var token = ""
    /// Sent: the token must be for one of them.
    public var audiences: [String] = []
    public var status = TokenReviewStatus()

    public init() {}

    public init(token: String, audiences: [String]) {
        self.token = token
        self.audiences = audiences
    }

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "metadata": metadata = try ObjectMeta(from: &reader)
        case "status": status = try TokenReviewStatus(from: &reader)
        default: return false
        }
        return true
    }

    public var content: [JSONValue.Member] {
        [.init("spec", .members(["token": .string(token), "audiences": .strings(audiences)]))]
    }
}

/// `authentication.k8s.io/v1.TokenReviewStatus`.
public struct TokenReviewStatus: Sendable, Hashable, JSONReadable {
    public var isAuthenticated = false
    /// Those of the asked ones that the token is for. Empty from a server that knows no audiences: its answer then is about itself.
    public var audiences: [String] = []
    public var error: String?
    public var username = ""
    public var uid = ""
    public var groups: [String] = []
    /// By the extra's key, such as `authentication.kubernetes.io/pod-name`.
    public var extra: [String: [String]] = [:]

    public init() {}

    public mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool {
        switch key {
        case "authenticated": isAuthenticated = try reader.bool() ?? false
        case "audiences": audiences = try reader.stringList()
        case "error": error = try reader.nonEmptyString()
        case "user":
            guard try reader.beginObject() else { return true }
            while let key = try reader.key() {
                switch key {
                case "username": username = try reader.string() ?? ""
                case "uid": uid = try reader.string() ?? ""
                case "groups": groups = try reader.stringList()
                case "extra":
                    guard try reader.beginObject() else { break }
                    while let key = try reader.key() { extra[key] = try reader.stringList() }
                default: try reader.skip()
                }
            }
        default: return false
        }
        return true
    }
}
