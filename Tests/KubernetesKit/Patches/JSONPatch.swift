/// RFC 6902: a list of operations, all or none.
enum JSONPatch {
    /// A test that fails, or a place that is not there: the patch is sound, the object is not what it expects (422).
    struct Mismatch: Error { let message: String }

    static func apply(_ patch: JSON, to object: JSON) throws -> JSON {
        guard let operations = patch.array else {
            throw Refusal.badRequest("error decoding patch: json: cannot unmarshal \(patch.typeName) into a JSON patch")
        }
        guard operations.count <= 10_000 else {
            throw Refusal.tooLarge("The allowed maximum operations in a JSON patch is 10000, got \(operations.count)")
        }
        var object = object
        for operation in operations { try apply(one: operation, to: &object) }
        return object
    }

    private static func apply(one operation: JSON, to object: inout JSON) throws {
        guard let verb = operation["op"].string, let path = operation["path"].string else {
            throw Refusal.badRequest("error decoding patch: missing op or path")
        }
        let place = try pointer(path)
        let value = operation.object?["value"]
        switch verb {
        case "add": try edit(&object, place[...]) { try add(&$0, $1, value ?? .null) }
        case "remove": try edit(&object, place[...]) { _ = try remove(&$0, $1) }
        case "replace":
            try edit(&object, place[...]) { container, key in
                let index = try index(container, key)
                try set(&container, key, index, value ?? .null)
            }
        case "test":
            let found = try? read(object, place)
            guard (found ?? .null) == (value ?? .null) else {
                throw Mismatch(message: "testing value \(path) failed")
            }
        case "move", "copy":
            let from = try pointer(operation["from"].string ?? "")
            let found = try read(object, from)
            if verb == "move" { try edit(&object, from[...]) { _ = try remove(&$0, $1) } }
            try edit(&object, place[...]) { try add(&$0, $1, found) }
        default: throw Refusal.badRequest("Unexpected kind: \(verb)")
        }
    }

    private static func pointer(_ path: String) throws -> [String] {
        if path.isEmpty { return [] }
        guard path.hasPrefix("/") else { throw Mismatch(message: "path \(path) does not begin with a slash") }
        return path.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map(unescaped)
    }

    private static func unescaped(_ part: Substring) -> String {
        var out = ""
        var rest = part
        while let tilde = rest.firstIndex(of: "~") {
            out += rest[..<tilde]
            let after = rest.index(after: tilde)
            let isEscape = after < rest.endIndex && (rest[after] == "0" || rest[after] == "1")
            out += isEscape ? (rest[after] == "0" ? "~" : "/") : "~"
            rest = rest[(isEscape ? rest.index(after: after) : after)...]
        }
        return out + rest
    }

    private static func read(_ object: JSON, _ place: [String]) throws -> JSON {
        var value = object
        for key in place {
            switch value {
            case .object(let members):
                guard let inner = members[key] else { throw missing(key) }
                value = inner
            case .array(let elements):
                guard let index = Int(key), elements.indices.contains(index) else { throw missing(key) }
                value = elements[index]
            default: throw missing(key)
            }
        }
        return value
    }

    /// Hands the container of the last key to the change.
    private static func edit(
        _ value: inout JSON, _ place: ArraySlice<String>, _ change: (inout JSON, String) throws -> Void
    ) throws {
        guard let key = place.first else { throw Mismatch(message: "the whole document cannot be changed") }
        if place.count == 1 { return try change(&value, key) }
        switch value {
        case .object(var members):
            guard var inner = members[key] else { throw missing(key) }
            try edit(&inner, place.dropFirst(), change)
            members[key] = inner
            value = .object(members)
        case .array(var elements):
            guard let index = Int(key), elements.indices.contains(index) else { throw missing(key) }
            try edit(&elements[index], place.dropFirst(), change)
            value = .array(elements)
        default: throw missing(key)
        }
    }

    private static func add(_ container: inout JSON, _ key: String, _ value: JSON) throws {
        switch container {
        case .object(var members):
            members[key] = value
            container = .object(members)
        case .array(var elements):
            guard let index = key == "-" ? elements.count : Int(key), (0...elements.count).contains(index) else {
                throw missing(key)
            }
            elements.insert(value, at: index)
            container = .array(elements)
        default: throw missing(key)
        }
    }

    private static func index(_ container: JSON, _ key: String) throws -> Int {
        switch container {
        case .object(let members):
            guard members[key] != nil else { throw missing(key) }
            return 0
        case .array(let elements):
            guard let index = Int(key), elements.indices.contains(index) else { throw missing(key) }
            return index
        default: throw missing(key)
        }
    }

    private static func set(_ container: inout JSON, _ key: String, _ index: Int, _ value: JSON) throws {
        switch container {
        case .object(var members):
            members[key] = value
            container = .object(members)
        case .array(var elements):
            elements[index] = value
            container = .array(elements)
        default: throw missing(key)
        }
    }

    private static func remove(_ container: inout JSON, _ key: String) throws -> JSON {
        let index = try index(container, key)
        switch container {
        case .object(var members):
            let removed = members.removeValue(forKey: key) ?? .null
            container = .object(members)
            return removed
        case .array(var elements):
            let removed = elements.remove(at: index)
            container = .array(elements)
            return removed
        default: throw missing(key)
        }
    }

    private static func missing(_ key: String) -> Mismatch {
        Mismatch(message: "the server rejected our request due to an error in our request: no value at \"\(key)\"")
    }
}
