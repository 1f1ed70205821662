import Yams

/// A place in a file; lines and columns count from 1.
struct Position {
    let line: Int
    let column: Int
}

extension Node {
    var position: Position? { mark.map { Position(line: $0.line, column: $0.column) } }
}

/// A node with its type decided by the YAML 1.2 core schema (chapter 10.3), nearly: `yes` and `no` are strings.
enum YAMLValue {
    case nothing
    case boolean(String)
    case number(String)
    case string(String)
    case list([Node])
    case mapping([(key: Node, value: Node)])

    init(_ node: Node) {
        switch node {
        case .scalar(let scalar):
            self = scalar.style == .plain ? YAMLValue(plain: scalar.string) : .string(scalar.string)
        case .sequence(let sequence):
            self = .list(Array(sequence))
        case .mapping(let mapping):
            self = .mapping(mapping.map { ($0.key, $0.value) })
        case .alias:
            self = .nothing
        }
    }

    private init(plain text: String) {
        switch text {
        case "", "~", "null", "Null", "NULL": self = .nothing
        case "true", "True", "TRUE", "false", "False", "FALSE": self = .boolean(text)
        default: self = YAMLValue.isNumber(text) ? .number(text) : .string(text)
        }
    }

    /// Decimal, hexadecimal, octal and floating point, as the core schema has them.
    private static func isNumber(_ text: String) -> Bool {
        var rest = Array(text.utf8)[...]
        if let first = rest.first, first == UInt8(ascii: "+") || first == UInt8(ascii: "-") { rest = rest.dropFirst() }
        guard let first = rest.first, isDigit(first) || first == UInt8(ascii: ".") else { return false }
        if rest.starts(with: Array("0x".utf8)) || rest.starts(with: Array("0o".utf8)) {
            return rest.count > 2 && UInt64(String(decoding: rest.dropFirst(2), as: UTF8.self), radix: 16) != nil
        }
        return rest.contains(where: isDigit) && Double(String(decoding: rest, as: UTF8.self)) != nil
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    /// How it is named after "got" in a message.
    var description: String {
        switch self {
        case .nothing: "nothing"
        case .boolean(let text): "the boolean \(text)"
        case .number(let text): "the number \(YAMLValue.shown(text))"
        case .string(let text): "\"\(YAMLValue.shown(text))\""
        case .list: "a list"
        case .mapping: "a mapping"
        }
    }

    /// Bounded, and without anything that could move a terminal's cursor.
    static func shown(_ text: String) -> String {
        let clean = text.unicodeScalars.prefix(64).map { scalar in
            scalar.properties.generalCategory == .control || scalar == "\""
                ? scalar.escaped(asASCII: true) : String(scalar)
        }
        return clean.joined() + (text.unicodeScalars.count > 64 ? "…" : "")
    }
}
