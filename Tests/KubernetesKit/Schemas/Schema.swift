/// What a field may hold, and how lists of it are merged: what the real server knows from its Go types and their tags.
///
/// The kinds are written down in `SchemaText+*.swift`, one line a type: `Type: field=shape field=shape`. Shapes:
/// `s` string, `i` integer, `b` boolean, `q` quantity, `t` time, `ios` integer or string, `any`, `{s}` map of strings, `{q}`, `Type`;
/// `[shape]` a list that is replaced as a whole, `[s/set]` a list that is a set, `[Type/key]` and `[Type/key,key]` a list
/// whose elements are told apart by the keys (the first is what a strategic merge patch goes by). A `!` after the name of a field
/// means that it is required by whoever writes the object.
indirect enum Schema: Sendable {
    case string, integer, boolean, quantity, time, integerOrString, any
    case map(Schema)
    case list(Schema, ListMerge)
    case type(String)

    enum ListMerge: Sendable, Equatable {
        case atomic
        case set
        case keyed([String])
        /// Keyed for a strategic merge patch, atomic for server-side apply: `[Type~key]`.
        case patchKeyed(String)
    }

    struct ObjectType: Sendable {
        let name: String
        let fields: [String: Schema]
        let required: [String]
    }

    /// Every type by its name; kinds by `group/Kind`'s entry in `kinds`.
    static let types: [String: ObjectType] = {
        var types: [String: ObjectType] = [:]
        let text = [
            SchemaText.metadata, SchemaText.pods, SchemaText.podStatus, SchemaText.core, SchemaText.groups,
        ].joined(separator: "\n")
        var logical: [Substring] = []
        for line in text.split(separator: "\n") {
            if line.hasPrefix(" "), let last = logical.indices.last {
                logical[last] += line
            } else {
                logical.append(line)
            }
        }
        for line in logical {
            guard let colon = line.firstIndex(of: ":") else { preconditionFailure("no type in \(line)") }
            let name = String(line[..<colon])
            var fields: [String: Schema] = [:]
            var required: [String] = []
            for entry in line[line.index(after: colon)...].split(separator: " ") {
                let parts = entry.split(separator: "=", maxSplits: 1)
                precondition(parts.count == 2, "no shape in \(entry)")
                var field = parts[0]
                if field.last == "!" {
                    field.removeLast()
                    required.append(String(field))
                }
                fields[String(field)] = Schema(parts[1])
            }
            types[name] = ObjectType(name: name, fields: fields, required: required)
        }
        return types
    }()

    private init(_ text: Substring) {
        switch text {
        case "s": self = .string
        case "i": self = .integer
        case "b": self = .boolean
        case "q": self = .quantity
        case "t": self = .time
        case "ios": self = .integerOrString
        case "any": self = .any
        default:
            let inner = text.dropFirst().dropLast()
            switch text.first {
            case "{": self = .map(Schema(inner))
            case "[":
                if let tilde = inner.firstIndex(of: "~") {
                    let key = String(inner[inner.index(after: tilde)...])
                    self = .list(Schema(inner[..<tilde]), .patchKeyed(key))
                } else if let slash = inner.firstIndex(of: "/") {
                    let keys = inner[inner.index(after: slash)...].split(separator: ",").map(String.init)
                    self = .list(Schema(inner[..<slash]), keys == ["set"] ? .set : .keyed(keys))
                } else {
                    self = .list(Schema(inner), .atomic)
                }
            default: self = .type(String(text))
            }
        }
    }

    /// The schema of a kind's objects. Events of the two groups have fields of their own.
    static func of(_ resource: Resource) -> Schema {
        .type(resource.group == "events.k8s.io" ? "Event.events" : resource.kind)
    }

    /// The schema of a kind's objects as they are stored.
    static func stored(_ resource: Resource) -> Schema { .type(resource.kind) }

    /// The schema of one member; nil where there is none of that name.
    func member(_ name: String) -> Schema? {
        switch self {
        case .type(let type): Self.types[type]?.fields[name]
        case .map(let value): value
        case .any: .any
        default: nil
        }
    }

    var element: (schema: Schema, merge: ListMerge)? {
        switch self {
        case .list(let element, let merge): (element, merge)
        case .any: (.any, .atomic)
        default: nil
        }
    }
}
