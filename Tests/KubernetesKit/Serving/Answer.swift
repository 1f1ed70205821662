internal import HTTPTypes

/// What is sent back.
enum Answer: Sendable {
    case json([UInt8], code: Int = 200, contentType: String = "application/json")
    case watch(Watching)

    static func status(_ code: Int = 200, details: JSON) -> Answer {
        let status: JSON = [
            "kind": "Status", "apiVersion": "v1", "metadata": .object([:]), "status": "Success", "details": details,
        ]
        return .json(status.bytes, code: code)
    }
}

/// A request as it was read: who sent it, what it asks, and its body.
struct ReadRequest: Sendable {
    let info: RequestInfo
    let user: User
    let accept: String?
    let contentType: String
    let userAgent: String
    let body: [UInt8]

    /// Who writes fields: `fieldManager`, else the program's name, as the real server takes it from `User-Agent`.
    var manager: String {
        if let given = info.query["fieldManager"], !given.isEmpty { return given }
        let program = userAgent.split(separator: "/", maxSplits: 1).first.map(String.init) ?? ""
        return program.isEmpty ? "unknown" : String(program.prefix(128))
    }
}
