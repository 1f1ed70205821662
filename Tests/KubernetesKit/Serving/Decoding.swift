public import Yams

/// From a request's body to an object.
enum Decoding {
    static let bodyMax = 3 << 20

    static func json(_ request: ReadRequest) throws -> JSON {
        if let object = try protobuf(request) { return object }
        do {
            return try JSONReader.read(request.body)
        } catch {
            throw Refusal.badRequest("error decoding the body: \(error)")
        }
    }

    /// An object with the members that stood twice.
    static func object(_ request: ReadRequest, _ resource: Resource) throws -> (value: JSON, duplicates: [String]) {
        if let object = try protobuf(request) { return (object, []) }
        switch request.contentType {
        case "application/json", "": break
        case "application/yaml": return try yaml(request)
        default: throw Refusal.unsupportedMediaType(["application/json", "application/yaml"])
        }
        do {
            return try JSONReader.readNotingDuplicates(request.body)
        } catch {
            throw Refusal.badRequest(
                "\(resource.kind) in version \"\(resource.version)\" cannot be handled as a "
                    + "\(resource.kind): couldn't get version/kind; json parse error: \(error)")
        }
    }

    private static func protobuf(_ request: ReadRequest) throws -> JSON? {
        guard request.contentType == ProtobufBody.contentType, !request.body.isEmpty else { return nil }
        guard let object = try ProtobufBody.object(request.body) else {
            throw Refusal.unsupportedMediaType(["application/json", "application/yaml"])
        }
        return object
    }

    static func yaml(_ request: ReadRequest) throws -> (value: JSON, duplicates: [String]) {
        if request.body.first(where: { $0 > 0x20 }) == UInt8(ascii: "{"),
            let read = try? JSONReader.readNotingDuplicates(request.body)
        {
            return read
        }
        do {
            guard let node = try Yams.compose(yaml: String(decoding: request.body, as: UTF8.self)) else {
                return (.null, [])
            }
            return (try JSON(yaml: node), [])
        } catch {
            throw Refusal.badRequest("error decoding YAML: \(error)")
        }
    }

    /// Types always, unknown and repeated fields as the client wants it; what is unknown is dropped.
    static func checked(
        _ body: (value: JSON, duplicates: [String]), _ resource: Resource, _ validation: WriteOptions.FieldValidation,
        warn: (String) -> Void
    ) throws -> JSON {
        let schema = Schema.of(resource)
        let what = "\(resource.kind) in version \"\(resource.version)\" cannot be handled as a \(resource.kind)"
        if let flaw = FieldCheck.mistyped(in: body.value, of: schema, kind: resource.kind) {
            throw Refusal.badRequest("\(what): \(flaw)")
        }
        let strict =
            body.duplicates.map { "duplicate field \"\($0)\"" }
            + FieldCheck.unknownFields(in: body.value, of: schema).map { "unknown field \"\($0)\"" }
        if !strict.isEmpty {
            switch validation {
            case .ignore: break
            case .warn: strict.forEach(warn)
            case .strict: throw Refusal.badRequest("\(what): strict decoding error: \(strict.joined(separator: ", "))")
            }
        }
        return FieldCheck.pruned(body.value, to: schema)
    }
}

extension JSON {
    /// YAML's core schema, as `sigs.k8s.io/yaml` reads it.
    public init(yaml node: Node) throws {
        switch node {
        case .mapping(let mapping):
            var members: [String: JSON] = [:]
            for (key, value) in mapping { members[key.string ?? ""] = try JSON(yaml: value) }
            self = .object(members)
        case .sequence(let sequence): self = .array(try sequence.map { try JSON(yaml: $0) })
        case .scalar(let scalar):
            let isPlain = scalar.style == .plain || scalar.style == .any
            if !isPlain {
                self = .string(scalar.string)
            } else if node.null != nil {
                self = .null
            } else if let value = node.bool {
                self = .bool(value)
            } else if let value = node.int {
                self = .integer(value)
            } else if let value = node.float {
                self = .number(value)
            } else {
                self = .string(scalar.string)
            }
        default: throw Refusal.badRequest("aliases are not read")
        }
    }
}
