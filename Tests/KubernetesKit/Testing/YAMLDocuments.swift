internal import Yams

/// The documents of one YAML text.
public enum YAMLDocuments {
    public static func read(_ text: String) throws -> [JSON] {
        try Yams.compose_all(yaml: text).map { try JSON(yaml: $0) }.filter { $0 != .null }
    }
}
