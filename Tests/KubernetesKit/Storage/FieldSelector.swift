/// A field selector: `path=value`, `path!=value`, joined by commas; only the fields that the resource supports.
struct FieldSelector: Sendable {
    struct Term: Sendable {
        let path: String
        let value: String
        let isNegated: Bool
    }

    let terms: [Term]

    /// Beside `metadata.name` and `metadata.namespace`, as the real server's strategies list them.
    private static let supported: [String: Set<String>] = [
        "pods": [
            "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
            "status.phase", "status.podIP", "status.nominatedNodeName",
        ],
        "events": [
            "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
            "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
            "reportingComponent", "source", "type",
        ],
        "namespaces": ["status.phase"],
        "nodes": ["spec.unschedulable"],
        "secrets": ["type"],
        "services": ["spec.clusterIP", "spec.type"],
    ]

    init(_ text: String, for resource: Resource) throws {
        let known = (Self.supported[resource.storage] ?? [])
            .union(resource.isNamespaced ? ["metadata.name", "metadata.namespace"] : ["metadata.name"])
        terms = try Self.split(text).map { part in
            guard let equals = part.firstIndex(of: "=") else {
                throw Refusal.badRequest("invalid selector: '\(part)'; can't understand '\(part)'")
            }
            var path = part[..<equals]
            let isNegated = path.last == "!"
            if isNegated { path.removeLast() }
            var value = part[part.index(after: equals)...]
            if value.first == "=" { value.removeFirst() }
            guard known.contains(String(path)) else {
                throw Refusal.badRequest("field label not supported: \(path)")
            }
            return Term(path: String(path), value: Self.unescaped(value), isNegated: isNegated)
        }
    }

    func matches(_ object: JSON) -> Bool {
        terms.allSatisfy { term in
            let found =
                switch object.at(term.path) {
                case .string(let value): value
                case .bool(let value): String(value)
                case .object(let members): members["component"]?.string ?? ""  // An event's source.
                default: ["spec.hostNetwork", "spec.unschedulable"].contains(term.path) ? "false" : ""
                }
            return (found == term.value) != term.isNegated
        }
    }

    private static func split(_ text: String) -> [String] {
        var parts: [String] = [""]
        var isEscaped = false
        for character in text {
            if character == ",", !isEscaped {
                parts.append("")
            } else {
                parts[parts.count - 1].append(character)
            }
            isEscaped = character == "\\" && !isEscaped
        }
        return parts.filter { !$0.isEmpty }
    }

    private static func unescaped(_ value: Substring) -> String {
        var out = ""
        var isEscaped = false
        for character in value {
            if character == "\\", !isEscaped {
                isEscaped = true
            } else {
                out.append(character)
                isEscaped = false
            }
        }
        return out
    }
}
