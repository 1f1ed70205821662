/// Reads one JSON document (RFC 8259) from memory, a value at a time, in the order of the text.
///
/// The API server's answers are large and we read few of their fields: what nobody asks for is stepped over without being built,
/// so that ten thousand pods cost what we keep of them. A reader is used up by reading; it is handed out only by `JSONReader.read`,
/// and must not be kept past the closure.
///
/// Null stands for an absent value everywhere, as in the Kubernetes API: each accessor has a result for it.
public struct JSONReader {
    /// Deeper documents are refused: stepping over them needs no stack, building them would.
    public static let depthMax = 64

    let bytes: UnsafeBufferPointer<UInt8>
    var position = 0
    /// A value has been read since the container was opened, so that a comma comes before the next one.
    var expectsComma = false
    private(set) var depth = 0

    private init(_ bytes: UnsafeBufferPointer<UInt8>) {
        self.bytes = bytes
    }

    /// What `body` makes of the document, which it has to read to its end: bytes behind it are refused.
    public static func read<Value>(
        _ bytes: UnsafeRawBufferPointer, _ body: (inout JSONReader) throws -> Value
    ) throws -> Value {
        try bytes.withMemoryRebound(to: UInt8.self) { bytes in
            var reader = JSONReader(bytes)
            let value = try body(&reader)
            reader.skipSpace()
            guard reader.position == bytes.count else { throw reader.fault(.trailingBytes) }
            return value
        }
    }

    public static func read<Value>(
        _ text: String, _ body: (inout JSONReader) throws -> Value
    ) throws -> Value {
        var text = text
        return try text.withUTF8 { try read(UnsafeRawBufferPointer($0), body) }
    }

    // MARK: Containers

    /// Opens an object, whose members `key` then gives; false for null.
    public mutating func beginObject() throws -> Bool {
        try begin(UInt8(ascii: "{"), .notAnObject)
    }

    /// Opens an array, whose elements `element` then announces; false for null.
    public mutating func beginArray() throws -> Bool {
        try begin(UInt8(ascii: "["), .notAnArray)
    }

    /// The next member's name; its value must be read or skipped next. Nil closes the object.
    public mutating func key() throws -> String? {
        guard try nextMember(closing: UInt8(ascii: "}")) else { return nil }
        let key = try text()
        skipSpace()
        guard peek == UInt8(ascii: ":") else { throw fault(.malformed) }
        position += 1
        return key
    }

    /// True when an element follows, which must be read or skipped next. False closes the array.
    public mutating func element() throws -> Bool {
        try nextMember(closing: UInt8(ascii: "]"))
    }

    private mutating func begin(_ bracket: UInt8, _ otherwise: JSONError.Reason) throws -> Bool {
        skipSpace()
        if try isNull() { return false }
        guard peek == bracket else { throw fault(otherwise) }
        guard depth < Self.depthMax else { throw fault(.tooDeep) }
        depth += 1
        position += 1
        expectsComma = false
        return true
    }

    private mutating func nextMember(closing bracket: UInt8) throws -> Bool {
        skipSpace()
        if peek == bracket {
            position += 1
            depth -= 1
            expectsComma = true
            return false
        }
        if expectsComma {
            guard peek == UInt8(ascii: ",") else { throw fault(.malformed) }
            position += 1
            skipSpace()
            guard peek != bracket else { throw fault(.malformed) }
        }
        return true
    }

    // MARK: Values

    public mutating func string() throws -> String? {
        skipSpace()
        if try isNull() { return nil }
        let value = try text()
        expectsComma = true
        return value
    }

    public mutating func bool() throws -> Bool? {
        skipSpace()
        if try isNull() { return nil }
        if try literal("true") { return true }
        guard try literal("false") else { throw fault(.notABool) }
        return false
    }

    /// A whole number: what Kubernetes' integer fields hold. Fractions are refused.
    public mutating func integer() throws -> Int? {
        skipSpace()
        if try isNull() { return nil }
        let start = position
        let token = try number()
        guard let value = Int(token) else {
            position = start
            throw fault(.notAnInteger)
        }
        return value
    }

    /// Steps over one value of any kind, which has to be well-formed in its brackets, strings and separators.
    public mutating func skip() throws {
        skipSpace()
        switch peek {
        case UInt8(ascii: "{"):
            guard try beginObject() else { return }
            while try nextMember(closing: UInt8(ascii: "}")) {
                try skipText()
                skipSpace()
                guard peek == UInt8(ascii: ":") else { throw fault(.malformed) }
                position += 1
                try skip()
            }
        case UInt8(ascii: "["):
            guard try beginArray() else { return }
            while try element() { try skip() }
        case UInt8(ascii: "\""):
            try skipText()
            expectsComma = true
        case UInt8(ascii: "t"): guard try literal("true") else { throw fault(.malformed) }
        case UInt8(ascii: "f"): guard try literal("false") else { throw fault(.malformed) }
        case UInt8(ascii: "n"): guard try isNull() else { throw fault(.malformed) }
        default: _ = try number()
        }
    }

    // MARK: Pieces

    var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    /// The kind of the next value by its first byte, for values that may be of several.
    var nextIsString: Bool {
        var index = position
        while index < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[index]) { index += 1 }
        return index < bytes.count && bytes[index] == UInt8(ascii: "\"")
    }

    mutating func isNull() throws -> Bool {
        guard peek == UInt8(ascii: "n") else { return false }
        guard try literal("null") else { throw fault(.malformed) }
        return true
    }

    private mutating func literal(_ word: StaticString) throws -> Bool {
        guard bytes.count - position >= word.utf8CodeUnitCount else { return false }
        for index in 0..<word.utf8CodeUnitCount where bytes[position + index] != word.utf8Start[index] { return false }
        position += word.utf8CodeUnitCount
        expectsComma = true
        return true
    }

    func fault(_ reason: JSONError.Reason) -> JSONError {
        JSONError(reason: position >= bytes.count ? .truncated : reason, offset: position)
    }
}
