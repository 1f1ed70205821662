import ArgumentParser
import FoundationEssentials
import Yams

/// How a command prints what programs read.
enum DocumentFormat: String {
    case json, yaml

    /// The document with its members sorted by name and times in RFC 3339, a line break at its end.
    func text(_ document: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        let json = String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
        return switch self {
        case .json: json
        case .yaml: try Self.yaml(json)
        }
    }

    /// JSON is YAML's flow style: the same document in blocks. Strings stay quoted, so that no reader takes one for a number.
    private static func yaml(_ json: String) throws -> String {
        guard let node = try compose(yaml: json) else { return json }
        return try serialize(node: inBlocks(node), width: -1, allowUnicode: true)
    }

    private static func inBlocks(_ node: Node) -> Node {
        switch node {
        case .mapping(let members):
            // Empty ones have no block form.
            Node(
                members.map { (Node(name($0.key)), inBlocks($0.value)) }, node.tag, members.isEmpty ? .flow : .block)
        case .sequence(let elements):
            Node(elements.map(inBlocks), node.tag, elements.isEmpty ? .flow : .block)
        case .scalar, .alias: node
        }
    }

    private static func name(_ key: Node) -> String { key.string ?? "" }
}

/// `--format` of the commands that answer in lines or in one document.
enum AnswerFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, yaml

    /// `nil` for lines.
    var document: DocumentFormat? { DocumentFormat(rawValue: rawValue) }
}

/// `--format` of the commands that answer in a table or in one document.
enum TableFormat: String, ExpressibleByArgument, CaseIterable {
    case table, json, yaml

    /// `nil` for a table.
    var document: DocumentFormat? { DocumentFormat(rawValue: rawValue) }
}
