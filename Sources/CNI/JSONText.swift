/// A JSON text (RFC 8259) that stays as it is: every value knows where it stands, so that a part can be taken out, or something put in,
/// with all other bytes untouched.
struct JSONText: Sendable {
    struct Value: Sendable {
        enum Content: Sendable {
            case object([Member])
            case array([Value])
            case string(String)
            case number
            case bool(Bool)
            case null
        }

        /// In the text's bytes.
        let range: Range<Int>
        let content: Content

        /// The last one of the name, as most readers have it; nil without, and for what is no object.
        subscript(_ name: String) -> Value? {
            guard case .object(let members) = content else { return nil }
            return members.last { $0.name == name }?.value
        }

        var string: String? { if case .string(let text) = content { text } else { nil } }
        var elements: [Value]? { if case .array(let values) = content { values } else { nil } }
        var isNull: Bool { if case .null = content { true } else { false } }
        var isObject: Bool { if case .object = content { true } else { false } }
    }

    struct Member: Sendable {
        let name: String
        let value: Value
    }

    struct Problem: Error, Hashable, CustomStringConvertible {
        let offset: Int
        let expected: String
        var description: String { "byte \(offset): expected \(expected)" }
    }

    let bytes: [UInt8]
    let root: Value

    init(_ bytes: [UInt8]) throws(Problem) {
        self.bytes = bytes
        var reader = JSONReader(bytes)
        root = try reader.text()
    }

    func text(of value: Value) -> String { String(decoding: bytes[value.range], as: UTF8.self) }

    /// With quotation marks.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

private struct JSONReader {
    /// Of arrays and objects within each other; the stack is not the input's to use up.
    private static let depthMax = 64

    private let bytes: [UInt8]
    private var offset = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func text() throws(JSONText.Problem) -> JSONText.Value {
        let value = try value(depth: 0)
        skipSpace()
        if offset < bytes.count { throw problem("the end") }
        return value
    }

    private func problem(_ expected: String) -> JSONText.Problem { .init(offset: offset, expected: expected) }

    private var next: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { offset += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        offset += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONText.Problem) -> JSONText.Value {
        guard depth < Self.depthMax else { throw problem("no more than \(Self.depthMax) levels") }
        skipSpace()
        let start = offset
        let content: JSONText.Value.Content
        switch next {
        case UInt8(ascii: "{"): content = .object(try members(depth))
        case UInt8(ascii: "["): content = .array(try elements(depth))
        case UInt8(ascii: "\""): content = .string(try string())
        case UInt8(ascii: "t"): content = try word("true", .bool(true))
        case UInt8(ascii: "f"): content = try word("false", .bool(false))
        case UInt8(ascii: "n"): content = try word("null", .null)
        default:
            try number()
            content = .number
        }
        return JSONText.Value(range: start..<offset, content: content)
    }

    private mutating func members(_ depth: Int) throws(JSONText.Problem) -> [JSONText.Member] {
        offset += 1
        var members: [JSONText.Member] = []
        skipSpace()
        if take("}") { return members }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw problem("a name") }
            let name = try string()
            skipSpace()
            guard take(":") else { throw problem("':'") }
            members.append(JSONText.Member(name: name, value: try value(depth: depth + 1)))
            skipSpace()
            if take("}") { return members }
            guard take(",") else { throw problem("',' or '}'") }
        }
    }

    private mutating func elements(_ depth: Int) throws(JSONText.Problem) -> [JSONText.Value] {
        offset += 1
        var values: [JSONText.Value] = []
        skipSpace()
        if take("]") { return values }
        while true {
            values.append(try value(depth: depth + 1))
            skipSpace()
            if take("]") { return values }
            guard take(",") else { throw problem("',' or ']'") }
        }
    }

    private mutating func word(
        _ word: String, _ content: JSONText.Value.Content
    ) throws(JSONText.Problem) -> JSONText.Value.Content {
        guard bytes[offset...].starts(with: word.utf8) else { throw problem("a value") }
        offset += word.utf8.count
        return content
    }

    private mutating func number() throws(JSONText.Problem) {
        _ = take("-")
        let digits = digits()
        guard digits.count == 1 || (digits.count > 1 && bytes[digits.lowerBound] != UInt8(ascii: "0")) else {
            throw problem("a value")
        }
        if take("."), self.digits().isEmpty { throw problem("a digit") }
        if take("e") || take("E") {
            _ = take("+") || take("-")
            if self.digits().isEmpty { throw problem("a digit") }
        }
    }

    private mutating func digits() -> Range<Int> {
        let start = offset
        while let byte = next, (0x30...0x39).contains(byte) { offset += 1 }
        return start..<offset
    }

    private mutating func string() throws(JSONText.Problem) -> String {
        offset += 1
        var text: [UInt8] = []
        while let byte = next {
            offset += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else { throw problem("UTF-8") }
                return string
            case UInt8(ascii: "\\"): text += try escape()
            case 0..<0x20: throw problem("no control character")
            default: text.append(byte)
            }
        }
        throw problem("'\"'")
    }

    private mutating func escape() throws(JSONText.Problem) -> [UInt8] {
        guard let byte = next else { throw problem("an escape") }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0c]
        case UInt8(ascii: "n"): return [0x0a]
        case UInt8(ascii: "r"): return [0x0d]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): return try unicode()
        default: throw problem("an escape")
        }
    }

    private mutating func unicode() throws(JSONText.Problem) -> [UInt8] {
        var unit = try hexadecimal()
        if (0xd800..<0xdc00).contains(unit) {
            guard take("\\"), take("u") else { throw problem("the second half of a surrogate pair") }
            let low = try hexadecimal()
            guard (0xdc00..<0xe000).contains(low) else { throw problem("the second half of a surrogate pair") }
            unit = 0x10000 + (unit - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = Unicode.Scalar(unit) else { throw problem("a character") }
        return Array(String(Character(scalar)).utf8)
    }

    private mutating func hexadecimal() throws(JSONText.Problem) -> UInt32 {
        guard offset + 4 <= bytes.count else { throw problem("four hexadecimal digits") }
        var value: UInt32 = 0
        for byte in bytes[offset..<(offset + 4)] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw problem("four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
        }
        offset += 4
        return value
    }
}
