extension JSONReader {
    /// A map of strings, null values left out; empty for null.
    public mutating func strings() throws -> [String: String] {
        guard try beginObject() else { return [:] }
        var values: [String: String] = [:]
        while let key = try key() { values[key] = try string() }
        return values
    }

    /// A list of strings, nulls left out; empty for null.
    public mutating func stringList() throws -> [String] {
        try list { try $0.string() }
    }

    /// What `read` makes of each element of a list, nils left out; empty for null.
    public mutating func list<Value>(_ read: (inout JSONReader) throws -> Value?) throws -> [Value] {
        guard try beginArray() else { return [] }
        var values: [Value] = []
        while try element() {
            if let value = try read(&self) { values.append(value) }
        }
        return values
    }

    /// A string that is nil where it is empty, as unset fields of Kubernetes' objects are either.
    public mutating func nonEmptyString() throws -> String? {
        guard let value = try string(), !value.isEmpty else { return nil }
        return value
    }

    /// Any value, as it stands.
    public mutating func value() throws -> JSONValue {
        skipSpace()
        switch peek {
        case UInt8(ascii: "{"):
            var members: [JSONValue.Member] = []
            _ = try beginObject()
            while let key = try key() { members.append(.init(key, try value())) }
            return .object(members)
        case UInt8(ascii: "["):
            return .array(try list { try $0.value() })
        case UInt8(ascii: "\""): return .string(try string() ?? "")
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool(try bool() ?? false)
        case UInt8(ascii: "n"):
            guard try isNull() else { throw fault(.malformed) }
            return .null
        default: return .number(String(try number()))
        }
    }
}

/// A part of an object that is read from JSON. Members that it does not know are stepped over.
public protocol JSONReadable {
    /// All that is absent or null.
    init()
    /// Takes the member's value, or gives false and leaves it where it is.
    mutating func take(_ key: String, from reader: inout JSONReader) throws -> Bool
}

extension JSONReadable {
    /// An object, or what stands for its absence where it is null.
    public init(from reader: inout JSONReader) throws {
        self.init()
        guard try reader.beginObject() else { return }
        while let key = try reader.key() {
            if try !take(key, from: &reader) { try reader.skip() }
        }
    }

    /// From a document.
    public init(json: String) throws {
        self = try JSONReader.read(json) { try Self(from: &$0) }
    }

    public init(json: UnsafeRawBufferPointer) throws {
        self = try JSONReader.read(json) { try Self(from: &$0) }
    }
}
