/// A parameter of a statement: bound, typed even when it is null, never part of the statement's text.
public enum PostgreSQLValue: Sendable, Equatable {
    case integer(Int64?)
    case text(String?)
    case bytes([UInt8]?)
    case boolean(Bool?)

    /// From PostgreSQL's `pg_type`, where these never change.
    enum TypeID {
        static let boolean: UInt32 = 16
        static let bytes: UInt32 = 17
        static let integer: UInt32 = 20
        static let text: UInt32 = 25
    }

    var typeID: UInt32 {
        switch self {
        case .integer: TypeID.integer
        case .text: TypeID.text
        case .bytes: TypeID.bytes
        case .boolean: TypeID.boolean
        }
    }

    /// In the binary format; nil for null.
    var encoded: [UInt8]? {
        switch self {
        case .integer(let value):
            value.map { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) } }
        case .text(let value): value.map { Array($0.utf8) }
        case .bytes(let value): value
        case .boolean(let value): value.map { [$0 ? 1 : 0] }
        }
    }
}

/// What a statement led to.
public struct PostgreSQLResult: Sendable {
    public let rows: [PostgreSQLRow]
    /// Rows that were written, deleted or returned.
    public let count: Int
    /// The server's word for what it did, such as `COMMIT`.
    let command: String
}

/// One row; columns by their position in the statement, their types checked.
public struct PostgreSQLRow: Sendable {
    let types: [UInt32]
    let fields: [[UInt8]?]

    public func integer(_ column: Int) throws(PostgreSQLError) -> Int64 { try present(optionalInteger(column), column) }
    public func text(_ column: Int) throws(PostgreSQLError) -> String { try present(optionalText(column), column) }
    public func bytes(_ column: Int) throws(PostgreSQLError) -> [UInt8] { try present(optionalBytes(column), column) }

    public func boolean(_ column: Int) throws(PostgreSQLError) -> Bool {
        let field = try present(field(column, PostgreSQLValue.TypeID.boolean), column)
        guard field.count == 1 else { throw .unreadable("column \(column) is no boolean") }
        return field[0] != 0
    }

    public func optionalInteger(_ column: Int) throws(PostgreSQLError) -> Int64? {
        guard let field = try field(column, PostgreSQLValue.TypeID.integer) else { return nil }
        guard field.count == 8 else { throw .unreadable("column \(column) is no 8-byte integer") }
        return field.reduce(0) { $0 << 8 | Int64($1) }
    }

    public func optionalText(_ column: Int) throws(PostgreSQLError) -> String? {
        guard let field = try field(column, PostgreSQLValue.TypeID.text) else { return nil }
        guard let text = String(validating: field, as: UTF8.self) else {
            throw .unreadable("column \(column) is not UTF-8")
        }
        return text
    }

    public func optionalBytes(_ column: Int) throws(PostgreSQLError) -> [UInt8]? {
        try field(column, PostgreSQLValue.TypeID.bytes)
    }

    private func field(_ column: Int, _ type: UInt32) throws(PostgreSQLError) -> [UInt8]? {
        guard fields.indices.contains(column) else { throw .unreadable("there is no column \(column)") }
        guard types[column] == type else {
            throw .unreadable("column \(column) is of type \(types[column]), not \(type)")
        }
        return fields[column]
    }

    private func present<Value>(_ value: Value?, _ column: Int) throws(PostgreSQLError) -> Value {
        guard let value else { throw .unreadable("column \(column) is null") }
        return value
    }
}
