/// A JSON value (RFC 8259) as a bundle's reader needs it: a repeated member name is an error, a number stays the text
/// it was.
///
/// Foundation's decoder keeps one of two members with the same name, silently; a bundle map must then be rejected
/// (SPIFFE Trust Domain and Bundle). Bounded in size and depth.
enum JSONDocument: Hashable, Sendable {
    static let maximumBytes = 1024 * 1024
    static let maximumDepth = 16

    case null
    case boolean(Bool)
    case number(String)
    case string(String)
    case array([JSONDocument])
    case object([String: JSONDocument])

    static func read(_ text: some Collection<UInt8>) throws(JSONError) -> JSONDocument {
        guard text.count <= maximumBytes else { throw JSONError(offset: maximumBytes, problem: .tooLarge) }
        var reader = Reader(bytes: Array(text))
        return try reader.document()
    }

    subscript(_ name: String) -> JSONDocument? {
        guard case .object(let members) = self else { return nil }
        return members[name]
    }

    var string: String? {
        guard case .string(let value) = self else { return nil }
        return value
    }
}

/// Where a JSON text stops being one that we accept, in bytes from its beginning.
struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    enum Problem: Hashable, Sendable {
        case tooLarge, tooDeep, unexpected, incomplete, trailing, badString, repeatedMember(String)
    }

    let offset: Int
    let problem: Problem

    var description: String {
        switch problem {
        case .tooLarge: "the JSON text is larger than \(JSONDocument.maximumBytes) bytes"
        case .tooDeep: "byte \(offset): nested deeper than \(JSONDocument.maximumDepth)"
        case .unexpected: "byte \(offset): not JSON"
        case .incomplete: "the JSON text ends too early, at byte \(offset)"
        case .trailing: "byte \(offset): more text after the JSON value"
        case .badString: "byte \(offset): not a valid JSON string"
        case .repeatedMember(let name): "byte \(offset): member \"\(name)\" is there twice"
        }
    }
}

private struct Reader {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(JSONError) -> JSONDocument {
        let value = try value(depth: 0)
        skipSpace()
        guard position == bytes.count else { throw failure(.trailing) }
        return value
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONDocument {
        guard depth < JSONDocument.maximumDepth else { throw failure(.tooDeep) }
        skipSpace()
        switch try peek() {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .boolean(true))
        case UInt8(ascii: "f"): return try literal("false", .boolean(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        default: return try number()
        }
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONDocument {
        position += 1
        var members: [String: JSONDocument] = [:]
        skipSpace()
        if try take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            skipSpace()
            let start = position
            guard try peek() == UInt8(ascii: "\"") else { throw failure(.unexpected) }
            let name = try string()
            skipSpace()
            guard try take(UInt8(ascii: ":")) else { throw failure(.unexpected) }
            let member = try value(depth: depth + 1)
            // `String` equality is wider than that of bytes (canonical equivalence): it can only find more repetitions.
            guard members.updateValue(member, forKey: name) == nil else {
                throw JSONError(offset: start, problem: .repeatedMember(name))
            }
            skipSpace()
            if try take(UInt8(ascii: "}")) { return .object(members) }
            guard try take(UInt8(ascii: ",")) else { throw failure(.unexpected) }
        }
    }

    private mutating func array(depth: Int) throws(JSONError) -> JSONDocument {
        position += 1
        var elements: [JSONDocument] = []
        skipSpace()
        if try take(UInt8(ascii: "]")) { return .array(elements) }
        while true {
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if try take(UInt8(ascii: "]")) { return .array(elements) }
            guard try take(UInt8(ascii: ",")) else { throw failure(.unexpected) }
        }
    }

    private mutating func string() throws(JSONError) -> String {
        let start = position
        position += 1
        var text: [UInt8] = []
        while true {
            let byte = try peek()
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw JSONError(offset: start, problem: .badString)
                }
                return string
            case UInt8(ascii: "\\"): text.append(contentsOf: try escape(start: start))
            case 0..<0x20: throw JSONError(offset: position - 1, problem: .badString)
            default: text.append(byte)
            }
        }
    }

    private mutating func escape(start: Int) throws(JSONError) -> [UInt8] {
        let byte = try peek()
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0c]
        case UInt8(ascii: "n"): return [0x0a]
        case UInt8(ascii: "r"): return [0x0d]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"):
            var units = [try codeUnit()]
            if UTF16.isLeadSurrogate(units[0]) {
                guard try take(UInt8(ascii: "\\")), try take(UInt8(ascii: "u")) else {
                    throw JSONError(offset: start, problem: .badString)
                }
                units.append(try codeUnit())
            }
            guard let character = String(validating: units, as: UTF16.self) else {
                throw JSONError(offset: start, problem: .badString)
            }
            return Array(character.utf8)
        default: throw JSONError(offset: position - 1, problem: .badString)
        }
    }

    private mutating func codeUnit() throws(JSONError) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            let digit = Character(Unicode.Scalar(try peek())).hexDigitValue
            guard let digit else { throw failure(.badString) }
            unit = unit << 4 | UInt16(digit)
            position += 1
        }
        return unit
    }

    /// RFC 8259 section 6, kept as text: what a number may be is for the member that holds it to say.
    private mutating func number() throws(JSONError) -> JSONDocument {
        let start = position
        if position < bytes.count, bytes[position] == UInt8(ascii: "-") { position += 1 }
        let integer = position
        let digits = skipDigits()
        guard digits > 0, digits == 1 || bytes[integer] != UInt8(ascii: "0") else {
            throw JSONError(offset: start, problem: position == bytes.count ? .incomplete : .unexpected)
        }
        if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
            position += 1
            guard skipDigits() > 0 else { throw failure(.unexpected) }
        }
        if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") {
            position += 1
            if position < bytes.count, [UInt8(ascii: "+"), UInt8(ascii: "-")].contains(bytes[position]) {
                position += 1
            }
            guard skipDigits() > 0 else { throw failure(.unexpected) }
        }
        return .number(String(decoding: bytes[start..<position], as: UTF8.self))
    }

    private mutating func skipDigits() -> Int {
        let start = position
        while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) {
            position += 1
        }
        return position - start
    }

    private mutating func literal(_ word: String, _ value: JSONDocument) throws(JSONError) -> JSONDocument {
        guard bytes[position...].starts(with: word.utf8) else { throw failure(.unexpected) }
        position += word.utf8.count
        return value
    }

    private mutating func skipSpace() {
        while position < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[position]) { position += 1 }
    }

    private func peek() throws(JSONError) -> UInt8 {
        guard position < bytes.count else { throw failure(.incomplete) }
        return bytes[position]
    }

    private mutating func take(_ byte: UInt8) throws(JSONError) -> Bool {
        guard try peek() == byte else { return false }
        position += 1
        return true
    }

    private func failure(_ problem: JSONError.Problem) -> JSONError { JSONError(offset: position, problem: problem) }
}
