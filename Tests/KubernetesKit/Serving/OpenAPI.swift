/// The schemas as documents.
///
/// Less than the real server serves: version 2 has no definitions (kubectl then leaves validation to the server), version 3 has the
/// kinds of `Schema` with the paths that say what a kind's patches may be.
enum OpenAPI {
    static func second(accept: String?) throws -> Answer {
        let type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        if let accept, accept.contains("protobuf") {
            // Document { swagger = "2.0", info = { title = "Kubernetes", version = "v1.32.4" }, paths = {} }
            let info = field(1, Array("Kubernetes".utf8)) + field(2, Array("v1.32.4".utf8))
            return .json(field(1, Array("2.0".utf8)) + field(2, info) + field(8, []), contentType: type)
        }
        let document: JSON = [
            "swagger": "2.0", "info": ["title": "Kubernetes", "version": "v1.32.4"], "paths": .object([:]),
        ]
        return .json(document.bytes)
    }

    private static func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
        [number << 3 | 2, UInt8(bytes.count)] + bytes
    }

    /// Where each group's document is.
    static let index: JSON = {
        var paths: [String: JSON] = [:]
        for path in Set(Resource.stored.map(\.path)) {
            let name = String(path.dropFirst())
            paths[name] = ["serverRelativeURL": .string("/openapi/v3/" + name)]
        }
        return ["paths": .object(paths)]
    }()

    /// The document of one group and version, `api/v1` or `apis/apps/v1`.
    static func document(_ group: some StringProtocol) -> [UInt8]? {
        let resources = Resource.stored.filter { $0.path.dropFirst() == group }
        guard !resources.isEmpty else { return nil }
        var paths: [String: JSON] = [:]
        var schemas: [String: JSON] = [:]
        for resource in resources {
            let place = resource.isNamespaced ? "/namespaces/{namespace}" : ""
            paths["\(resource.path)\(place)/\(resource.name)/{name}"] = ["patch": patch(resource)]
            let type = resource == .events ? "Event.events" : resource.kind
            define(type, into: &schemas)
            schemas[name(type)]?["x-kubernetes-group-version-kind"] = [kind(resource)]
        }
        let document: JSON = [
            "openapi": "3.0.0", "info": ["title": "Kubernetes", "version": "v1.32.4"], "paths": .object(paths),
            "components": ["schemas": .object(schemas)],
        ]
        return document.bytes
    }

    private static func kind(_ resource: Resource) -> JSON {
        .object([
            "group": .string(resource.group), "version": .string(resource.version), "kind": .string(resource.kind),
        ])
    }

    private static func patch(_ resource: Resource) -> JSON {
        let types = [
            "application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json",
            "application/strategic-merge-patch+json",
        ]
        let content = Dictionary(uniqueKeysWithValues: types.map { ($0, JSON.object(["schema": ["type": "object"]])) })
        let parameters = ["dryRun", "fieldManager", "fieldValidation", "force"].map { name -> JSON in
            [
                "name": .string(name), "in": "query",
                "schema": ["type": name == "force" ? "boolean" : "string", "uniqueItems": true],
            ]
        }
        return [
            "parameters": .array(parameters), "requestBody": ["content": .object(content)],
            "responses": ["200": ["description": "OK"]], "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": kind(resource),
        ]
    }

    private static func name(_ type: String) -> String { "io.k8s.api." + type }

    /// The type and all that it is made of.
    private static func define(_ type: String, into schemas: inout [String: JSON]) {
        guard schemas[name(type)] == nil, let definition = Schema.types[type] else { return }
        schemas[name(type)] = .null
        var properties: [String: JSON] = [:]
        for (field, schema) in definition.fields { properties[field] = property(schema, into: &schemas) }
        schemas[name(type)] = [
            "type": "object", "description": .string(type), "properties": .object(properties),
            "required": definition.required.isEmpty ? nil : JSON(definition.required),
        ]
    }

    private static func property(_ schema: Schema, into schemas: inout [String: JSON]) -> JSON {
        switch schema {
        case .string, .quantity: return ["type": "string"]
        case .time: return ["type": "string", "format": "date-time"]
        case .integer: return ["type": "integer"]
        case .boolean: return ["type": "boolean"]
        case .integerOrString: return ["format": "int-or-string", "oneOf": [["type": "integer"], ["type": "string"]]]
        case .any: return ["type": "object"]
        case .map(let value): return ["type": "object", "additionalProperties": property(value, into: &schemas)]
        case .type(let type):
            define(type, into: &schemas)
            return ["allOf": [["$ref": .string("#/components/schemas/" + name(type))]]]
        case .list(let element, let merge):
            var list: JSON = ["type": "array", "items": property(element, into: &schemas)]
            switch merge {
            case .atomic: list["x-kubernetes-list-type"] = "atomic"
            case .set:
                list["x-kubernetes-list-type"] = "set"
                list["x-kubernetes-patch-strategy"] = "merge"
            case .keyed(let keys):
                list["x-kubernetes-list-type"] = "map"
                list["x-kubernetes-list-map-keys"] = JSON(keys)
                list["x-kubernetes-patch-strategy"] = "merge"
                list["x-kubernetes-patch-merge-key"] = JSON(keys.first)
            case .patchKeyed(let key):
                list["x-kubernetes-patch-strategy"] = "merge"
                list["x-kubernetes-patch-merge-key"] = .string(key)
            }
            return list
        }
    }
}
