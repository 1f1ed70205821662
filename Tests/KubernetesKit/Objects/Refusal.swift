/// Why a request is refused, as the `Status` object that clients read.
public struct Refusal: Error, Sendable {
    public let code: Int
    public let reason: String
    public let message: String
    public var details: JSON = .object([:])
    /// Seconds, sent as the `Retry-After` header, too.
    public var retryAfter: Int?
    /// Where an expired list could go on all the same.
    var continuation: String?

    var status: JSON {
        var details = details
        if let retryAfter { details["retryAfterSeconds"] = .integer(retryAfter) }
        return [
            "kind": "Status", "apiVersion": "v1", "metadata": ["continue": JSON(continuation)], "status": "Failure",
            "message": .string(message), "reason": reason.isEmpty ? nil : .string(reason),
            "details": details == .object([:]) ? nil : details, "code": .integer(code),
        ]
    }
}

extension Refusal {
    private init(_ code: Int, _ reason: String, _ message: String, _ resource: Resource, _ name: String) {
        self.init(code: code, reason: reason, message: message)
        details = [
            "name": name.isEmpty ? nil : .string(name), "group": resource.group.isEmpty ? nil : .string(resource.group),
            "kind": .string(resource.name),
        ]
    }

    static func notFound(_ resource: Resource, _ name: String) -> Refusal {
        Refusal(404, "NotFound", "\(resource.qualifiedName) \"\(name)\" not found", resource, name)
    }

    static var noSuchPath: Refusal {
        Refusal(code: 404, reason: "NotFound", message: "the server could not find the requested resource")
    }

    static func alreadyExists(_ resource: Resource, _ name: String) -> Refusal {
        Refusal(409, "AlreadyExists", "\(resource.qualifiedName) \"\(name)\" already exists", resource, name)
    }

    static func conflict(_ resource: Resource, _ name: String, _ why: String? = nil) -> Refusal {
        let why =
            why
            ?? "the object has been modified; please apply your changes to the latest version and try again"
        return Refusal(
            409, "Conflict", "Operation cannot be fulfilled on \(resource.qualifiedName) \"\(name)\": \(why)", resource,
            name)
    }

    /// Two managers want one field (server-side apply).
    static func applyConflict(_ conflicts: [(manager: String, field: String)]) -> Refusal {
        let causes = conflicts.map { conflict -> JSON in
            [
                "reason": "FieldManagerConflict", "message": .string("conflict with \(conflict.manager)"),
                "field": .string(conflict.field),
            ]
        }
        let count = "\(conflicts.count) conflict\(conflicts.count == 1 ? "" : "s")"
        let list = conflicts.map { "\($0.manager): \($0.field)" }.joined(separator: ", ")
        return Refusal(
            code: 409, reason: "Conflict",
            message: "Apply failed with \(count): \(conflicts.count == 1 ? "conflict" : "conflicts") with \(list)",
            details: ["causes": .array(causes)])
    }

    static func invalid(_ resource: Resource, _ name: String, _ flaws: [Flaw]) -> Refusal {
        let list = flaws.map(\.text)
        let what = list.count == 1 ? list[0] : "[" + list.joined(separator: ", ") + "]"
        var refusal = Refusal(
            422, "Invalid",
            "\(resource.group.isEmpty ? resource.kind : "\(resource.kind).\(resource.group)") "
                + "\"\(name)\" is invalid: \(what)", resource, name)
        refusal.details["kind"] = .string(resource.kind)
        refusal.details["causes"] = .array(
            flaws.map {
                ["reason": .string($0.kind.rawValue), "message": .string($0.message), "field": .string($0.field)]
            })
        return refusal
    }

    static func badRequest(_ message: String) -> Refusal {
        Refusal(code: 400, reason: "BadRequest", message: message)
    }

    static func forbidden(_ resource: Resource, _ name: String, _ why: String) -> Refusal {
        let what = name.isEmpty ? "\(resource.qualifiedName) is" : "\(resource.qualifiedName) \"\(name)\" is"
        return Refusal(403, "Forbidden", "\(what) forbidden: \(why)", resource, name)
    }

    static func forbiddenPath(_ path: String, _ why: String) -> Refusal {
        Refusal(code: 403, reason: "Forbidden", message: "forbidden: \(why)")
    }

    static var unauthorized: Refusal { Refusal(code: 401, reason: "Unauthorized", message: "Unauthorized") }

    static var methodNotAllowed: Refusal {
        Refusal(
            code: 405, reason: "MethodNotAllowed",
            message: "the server does not allow this method on the requested resource")
    }

    static func unsupportedMediaType(_ accepted: [String]) -> Refusal {
        Refusal(
            code: 415, reason: "UnsupportedMediaType",
            message: "the body of the request was in an unknown format - accepted media types include: "
                + accepted.joined(separator: ", "))
    }

    static var notAcceptable: Refusal {
        Refusal(
            code: 406, reason: "NotAcceptable", message: "only the following media types are accepted: application/json"
        )
    }

    static func tooLarge(_ message: String) -> Refusal {
        Refusal(code: 413, reason: "RequestEntityTooLarge", message: message)
    }

    static func expired(_ message: String) -> Refusal { Refusal(code: 410, reason: "Expired", message: message) }

    static func tooManyRequests(retryAfter: Int) -> Refusal {
        Refusal(
            code: 429, reason: "TooManyRequests",
            message: "the server has received too many requests and has asked us to try again later",
            retryAfter: retryAfter)
    }

    static func internalError(_ message: String) -> Refusal {
        Refusal(code: 500, reason: "InternalError", message: "Internal error occurred: \(message)")
    }

    /// The version asked for is not there yet: retry.
    static func tooLargeResourceVersion(_ asked: Int, current: Int) -> Refusal {
        Refusal(
            code: 504, reason: "Timeout", message: "Too large resource version: \(asked), current: \(current)",
            details: ["causes": [["reason": "ResourceVersionTooLarge", "message": "Too large resource version"]]],
            retryAfter: 1)
    }
}

/// One thing that is wrong with one field of an object.
struct Flaw {
    enum Kind: String {
        case required = "FieldValueRequired"
        case invalid = "FieldValueInvalid"
        case forbidden = "FieldValueForbidden"
        case unsupported = "FieldValueNotSupported"
        case duplicate = "FieldValueDuplicate"
        case tooLong = "FieldValueTooLong"
        case typeInvalid = "FieldValueTypeInvalid"
        case notFound = "FieldValueNotFound"
    }

    let kind: Kind
    let field: String
    let message: String
    var text: String { "\(field): \(message)" }

    static func required(_ field: String, _ detail: String = "") -> Flaw {
        Flaw(kind: .required, field: field, message: "Required value" + (detail.isEmpty ? "" : ": \(detail)"))
    }

    static func invalid(_ field: String, _ value: JSON, _ detail: String) -> Flaw {
        Flaw(kind: .invalid, field: field, message: "Invalid value: \(value.text): \(detail)")
    }

    static func forbidden(_ field: String, _ detail: String) -> Flaw {
        Flaw(kind: .forbidden, field: field, message: "Forbidden: \(detail)")
    }

    static func unsupported(_ field: String, _ value: JSON, _ supported: [String]) -> Flaw {
        let list = supported.map { "\"\($0)\"" }.joined(separator: ", ")
        return Flaw(
            kind: .unsupported, field: field, message: "Unsupported value: \(value.text): supported values: \(list)")
    }

    static func duplicate(_ field: String, _ value: JSON) -> Flaw {
        Flaw(kind: .duplicate, field: field, message: "Duplicate value: \(value.text)")
    }

    static func tooLong(_ field: String, _ max: Int) -> Flaw {
        Flaw(kind: .tooLong, field: field, message: "Too long: may not be more than \(max) bytes")
    }
}
