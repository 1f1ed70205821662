/// Who asks.
public struct User: Sendable, Hashable {
    public var name: String
    public var uid = ""
    public var groups: [String] = []
    public var extra: [String: [String]] = [:]

    public init(name: String, uid: String = "", groups: [String] = [], extra: [String: [String]] = [:]) {
        self.name = name
        self.uid = uid
        self.groups = groups
        self.extra = extra
    }

    static let anonymous = User(name: "system:anonymous", groups: ["system:unauthenticated"])

    /// As reviews answer it.
    var json: JSON {
        [
            "username": .string(name), "uid": uid.isEmpty ? nil : .string(uid),
            "groups": groups.isEmpty ? nil : JSON(groups),
            "extra": extra.isEmpty ? nil : .object(extra.mapValues(JSON.init)),
        ]
    }
}
