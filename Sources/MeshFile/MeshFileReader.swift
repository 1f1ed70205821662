import Yams

/// Walks a composed mesh file, keeping every problem that it meets.
///
/// Its reading functions answer nil after they have reported why; callers go on, so that one run shows all problems.
struct MeshFileReader {
    private(set) var problems: [MeshFileError.Problem] = []
    private var omitted = 0

    /// The fields of one mapping, by key.
    struct Fields {
        let position: Position
        fileprivate let nodes: [String: Node]

        subscript(key: String) -> Node? { nodes[key] }
    }

    mutating func report(_ position: Position?, _ message: String) {
        guard problems.count < MeshFileError.problemsMax else { return omitted += 1 }
        problems.append(.init(line: position?.line ?? 0, column: position?.column ?? 0, message: message))
    }

    func error(file: String) -> MeshFileError {
        let ordered = problems.sorted { ($0.line, $0.column) < ($1.line, $1.column) }
        return MeshFileError(file: file, problems: ordered, omitted: omitted)
    }

    /// A mapping with these keys and no others.
    mutating func fields(_ node: Node, _ what: String, required: [String], optional: [String]) -> Fields? {
        let position = node.position ?? Position(line: 1, column: 1)
        guard case .mapping(let pairs) = YAMLValue(node) else {
            report(position, "expected \(what) as a mapping, got \(YAMLValue(node).description)")
            return nil
        }
        var nodes: [String: Node] = [:]
        for (key, value) in pairs {
            guard case .string(let name) = YAMLValue(key), required.contains(name) || optional.contains(name) else {
                let known = (required + optional).joined(separator: ", ")
                report(key.position, "expected in \(what) one of the keys \(known), got \(YAMLValue(key).description)")
                continue
            }
            nodes[name] = value
        }
        for name in required where nodes[name] == nil {
            report(position, "expected in \(what) the key '\(name)', got none")
        }
        return Fields(position: position, nodes: nodes)
    }

    /// The elements of a list; an absent one is empty.
    mutating func list(_ node: Node?, _ what: String) -> [Node] {
        guard let node else { return [] }
        guard case .list(let elements) = YAMLValue(node) else {
            report(node.position, "expected \(what) as a list, got \(YAMLValue(node).description)")
            return []
        }
        return elements
    }

    /// A string; what YAML reads as something else has to be quoted.
    mutating func string(_ node: Node?, _ what: String) -> String? {
        guard let node else { return nil }
        let value = YAMLValue(node)
        switch value {
        case .string(let text):
            return text
        case .boolean(let text), .number(let text):
            let hint = "write \"\(YAMLValue.shown(text))\""
            report(node.position, "expected \(what) as a string, got \(value.description); \(hint)")
        case .nothing, .list, .mapping:
            report(node.position, "expected \(what) as a string, got \(value.description)")
        }
        return nil
    }

    /// A string that follows a rule.
    mutating func string(_ node: Node?, _ what: String, _ rule: NameRule) -> String? {
        guard let node, let text = string(node, what) else { return nil }
        guard rule.matches(text) else {
            report(node.position, "expected \(what) of \(rule.description), got \(YAMLValue.string(text).description)")
            return nil
        }
        return text
    }

    /// A TCP port.
    mutating func port(_ node: Node?, _ what: String) -> UInt16? {
        guard let node else { return nil }
        let value = YAMLValue(node)
        // Neither a sign nor a leading zero, which means octal to some parsers.
        guard case .number(let text) = value, let port = UInt16(text), port > 0, text == String(port)
        else {
            report(node.position, "expected \(what) as a number from 1 to 65535, got \(value.description)")
            return nil
        }
        return port
    }
}
