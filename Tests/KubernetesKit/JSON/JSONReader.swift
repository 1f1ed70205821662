internal import Glibc

/// Reads one JSON text (RFC 8259). Nesting is bounded, as the real server's.
struct JSONReader {
    struct Malformed: Error, CustomStringConvertible {
        let description: String
    }

    private static let depthMax = 100

    private var bytes: UnsafeBufferPointer<UInt8>
    private var position = 0
    /// Members that stood twice in one object: an error where fields are validated strictly.
    private(set) var duplicates: [String] = []

    static func read(_ text: some Collection<UInt8>) throws(Malformed) -> JSON {
        try readNotingDuplicates(text).value
    }

    static func readNotingDuplicates(
        _ text: some Collection<UInt8>
    ) throws(Malformed) -> (value: JSON, duplicates: [String]) {
        let copy = ContiguousArray(text)
        let result = copy.withUnsafeBufferPointer { bytes -> Result<(JSON, [String]), Malformed> in
            var reader = JSONReader(bytes: bytes)
            return Result { () throws(Malformed) in
                let value = try reader.value(depth: 0, path: "")
                reader.skipSpace()
                guard reader.position == bytes.count else { throw reader.malformed("text after the value") }
                return (value, reader.duplicates)
            }
        }
        return try result.get()
    }

    private func malformed(_ what: String) -> Malformed {
        Malformed(description: "\(what) at offset \(position)")
    }

    private mutating func skipSpace() {
        while position < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[position]) { position += 1 }
    }

    private mutating func value(depth: Int, path: String) throws(Malformed) -> JSON {
        guard depth < Self.depthMax else { throw malformed("nesting deeper than \(Self.depthMax)") }
        skipSpace()
        guard position < bytes.count else { throw malformed("unexpected end of JSON input") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return try object(depth: depth, path: path)
        case UInt8(ascii: "["): return try array(depth: depth, path: path)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        default: return try number()
        }
    }

    private mutating func literal(_ word: StaticString, _ value: JSON) throws(Malformed) -> JSON {
        for offset in 0..<word.utf8CodeUnitCount {
            guard position < bytes.count, bytes[position] == word.utf8Start[offset] else {
                throw malformed("invalid literal")
            }
            position += 1
        }
        return value
    }

    private mutating func object(depth: Int, path: String) throws(Malformed) -> JSON {
        var members: [String: JSON] = [:]
        position += 1
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object(members) }
        repeat {
            skipSpace()
            guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
                throw malformed("expected a member's name")
            }
            let name = try string()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw malformed("expected a colon") }
            let inner = path.isEmpty ? name : path + "." + name
            if members[name] != nil { duplicates.append(inner) }
            members[name] = try value(depth: depth + 1, path: inner)
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw malformed("expected a comma or the end of the object") }
        return .object(members)
    }

    private mutating func array(depth: Int, path: String) throws(Malformed) -> JSON {
        var elements: [JSON] = []
        position += 1
        skipSpace()
        if take(UInt8(ascii: "]")) { return .array(elements) }
        repeat {
            elements.append(try value(depth: depth + 1, path: "\(path)[\(elements.count)]"))
            skipSpace()
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw malformed("expected a comma or the end of the array") }
        return .array(elements)
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard position < bytes.count, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    private mutating func number() throws(Malformed) -> JSON {
        let start = position
        while position < bytes.count, Self.isNumeric(bytes[position]) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if let whole = Int(text), text.first != "+" { return .integer(whole) }
        guard let value = Double(text), value.isFinite, text.first != "+" else { throw malformed("invalid number") }
        return .number(value)
    }

    private static func isNumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): true
        default: false
        }
    }

    private mutating func string() throws(Malformed) -> String {
        position += 1
        let start = position
        while position < bytes.count, bytes[position] != UInt8(ascii: "\""), bytes[position] != UInt8(ascii: "\\") {
            guard bytes[position] >= 0x20 else { throw malformed("control character in a string") }
            position += 1
        }
        guard position < bytes.count else { throw malformed("unexpected end of JSON input") }
        if take(UInt8(ascii: "\"")) { return String(decoding: bytes[start..<(position - 1)], as: UTF8.self) }
        var text = Array(bytes[start..<position])
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0..<0x20: throw malformed("control character in a string")
            default: text.append(byte)
            }
        }
        throw malformed("unexpected end of JSON input")
    }

    private mutating func escape(into text: inout [UInt8]) throws(Malformed) {
        guard position < bytes.count else { throw malformed("unexpected end of JSON input") }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"): try unicode(into: &text)
        default: throw malformed("invalid escape")
        }
    }

    private mutating func unicode(into text: inout [UInt8]) throws(Malformed) {
        var code = try hexadecimal()
        if 0xD800..<0xDC00 ~= code, position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
            bytes[position + 1] == UInt8(ascii: "u")
        {
            position += 2
            let low = try hexadecimal()
            code = 0xDC00..<0xE000 ~= low ? 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00) : 0xFFFD
        }
        text += String(Unicode.Scalar(code).map(Character.init) ?? "\u{FFFD}").utf8
    }

    private mutating func hexadecimal() throws(Malformed) -> UInt32 {
        guard position + 4 <= bytes.count,
            let code = UInt32(String(decoding: bytes[position..<(position + 4)], as: UTF8.self), radix: 16)
        else { throw malformed("invalid \\u escape") }
        position += 4
        return code
    }
}

extension JSON {
    /// Reads a text that the caller wrote; a malformed one is the caller's mistake.
    public init(parsing text: some Collection<UInt8>) throws { self = try JSONReader.read(text) }
    public init(parsing text: String) throws { self = try JSONReader.read(text.utf8) }
}
