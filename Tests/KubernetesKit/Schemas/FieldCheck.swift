/// Compares an object with its schema: what has the wrong type is refused always, what is unknown only where the client asks for it.
enum FieldCheck {
    /// `unknown field "spec.foo"`, in the order of the real server's: by path.
    static func unknownFields(in value: JSON, of schema: Schema, path: String = "") -> [String] {
        switch (schema, value) {
        case (.type(let name), .object(let members)):
            guard let type = Schema.types[name] else { return [] }
            return members.keys.sorted().flatMap { member -> [String] in
                let inner = path.isEmpty ? member : path + "." + member
                guard let field = type.fields[member] else { return [inner] }
                return unknownFields(in: members[member, default: .null], of: field, path: inner)
            }
        case (.list(let element, _), .array(let elements)):
            return elements.enumerated().flatMap { unknownFields(in: $1, of: element, path: "\(path)[\($0)]") }
        default: return []
        }
    }

    /// Without what the schema does not know: unknown fields are dropped, as a decoder of Go's types drops them.
    static func pruned(_ value: JSON, to schema: Schema) -> JSON {
        switch (schema, value) {
        case (.type(let name), .object(let members)):
            guard let type = Schema.types[name] else { return value }
            var kept: [String: JSON] = [:]
            for (member, inner) in members where inner != .null {
                if let field = type.fields[member] { kept[member] = pruned(inner, to: field) }
            }
            return .object(kept)
        case (.list(let element, _), .array(let elements)): return .array(elements.map { pruned($0, to: element) })
        default: return value
        }
    }

    /// The first value whose type the decoder cannot take.
    static func mistyped(in value: JSON, of schema: Schema, kind: String, path: String = "") -> String? {
        func wrong(_ wanted: String) -> String {
            "json: cannot unmarshal \(value.typeName) into Go struct field \(kind).\(path) of type \(wanted)"
        }
        switch (schema, value) {
        case (_, .null), (.any, _): return nil
        case (.string, .string), (.boolean, .bool), (.integer, .integer): return nil
        case (.integerOrString, .integer), (.integerOrString, .string): return nil
        case (.quantity, .string(let text)):
            return isQuantity(text)
                ? nil
                : "quantities must match the regular expression "
                    + "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        case (.quantity, .integer), (.quantity, .number): return nil
        case (.time, .string(let text)):
            return Timestamps.seconds(text) == nil
                ? "parsing time \(value.text) as \"2006-01-02T15:04:05Z07:00\": cannot parse" : nil
        case (.map(let element), .object(let members)):
            for name in members.keys.sorted() {
                if let flaw = mistyped(
                    in: members[name, default: .null], of: element, kind: kind, path: join(path, name))
                {
                    return flaw
                }
            }
            return nil
        case (.list(let element, _), .array(let elements)):
            for inner in elements {
                if let flaw = mistyped(in: inner, of: element, kind: kind, path: path) { return flaw }
            }
            return nil
        case (.type(let name), .object(let members)):
            let fields = Schema.types[name]?.fields ?? [:]
            for member in members.keys.sorted() {
                guard let field = fields[member] else { continue }
                if let flaw = mistyped(
                    in: members[member, default: .null], of: field, kind: kind, path: join(path, member))
                {
                    return flaw
                }
            }
            return nil
        case (.string, _): return wrong("string")
        case (.boolean, _): return wrong("bool")
        case (.integer, _): return wrong("int32")
        case (.time, _): return wrong("v1.Time")
        case (.map, _): return wrong("map[string]string")
        case (.list(let element, _), _): return wrong(goList(element))
        case (.type(let name), _): return wrong("v1.\(name)")
        default: return wrong("string")
        }
    }

    /// Fields that must be there, below the object's own level: list elements and nested types that are present.
    static func missing(in value: JSON, of schema: Schema, path: String = "") -> [Flaw] {
        switch (schema, value) {
        case (.type(let name), .object(let members)):
            guard let type = Schema.types[name] else { return [] }
            let absent = type.required.filter { (members[$0] ?? .null) == .null || members[$0] == "" }
            return absent.map { .required(join(path, $0)) }
                + members.keys.sorted().flatMap { member -> [Flaw] in
                    guard let field = type.fields[member] else { return [] }
                    return missing(in: members[member, default: .null], of: field, path: join(path, member))
                }
        case (.list(let element, _), .array(let elements)):
            return elements.enumerated().flatMap { missing(in: $1, of: element, path: "\(path)[\($0)]") }
        default: return []
        }
    }

    static func isQuantity(_ text: String) -> Bool {
        let digits = text.drop { "+-".contains($0) }
        let suffix = digits.drop { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard suffix.count < digits.count, text.count - digits.count <= 1 else { return false }
        return ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].contains(
            String(suffix))
            || (["e", "E"].contains(suffix.prefix(1)) && Int(suffix.dropFirst()) != nil)
    }

    private static func goList(_ element: Schema) -> String {
        switch element {
        case .string: "[]string"
        case .integer: "[]int32"
        case .type(let name): "[]v1.\(name)"
        default: "[]interface {}"
        }
    }

    private static func join(_ path: String, _ member: String) -> String { path.isEmpty ? member : path + "." + member }
}
