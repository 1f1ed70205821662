/// One JSON value, as objects of the API are kept and compared.
///
/// Whole numbers stay whole: a `resourceVersion` or a port never takes a detour through floating point.
public enum JSON: Sendable, Hashable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    public var string: String? { if case .string(let value) = self { value } else { nil } }
    public var integer: Int? { if case .integer(let value) = self { value } else { nil } }
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    public var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
    public var object: [String: JSON]? { if case .object(let value) = self { value } else { nil } }
    public var isNull: Bool { self == .null }
    public var keys: [String] { object.map { $0.keys.sorted() } ?? [] }

    /// Absent members read as `null`; writing makes objects where there are none, and writing `null` removes the member.
    public subscript(_ member: String) -> JSON {
        get { object?[member] ?? .null }
        set {
            var members = object ?? [:]
            self = .null  // The dictionary is ours alone while it is changed.
            if newValue == .null { members.removeValue(forKey: member) } else { members[member] = newValue }
            self = .object(members)
        }
        _modify {
            var members = object ?? [:]
            self = .null
            var value = members.removeValue(forKey: member) ?? .null
            defer {
                if value != .null { members[member] = value }
                self = .object(members)
            }
            yield &value
        }
    }

    public subscript(_ index: Int) -> JSON {
        guard let array, array.indices.contains(index) else { return .null }
        return array[index]
    }

    /// What stands at a path of members, as `spec.nodeName`.
    public func at(_ path: String) -> JSON {
        path.split(separator: ".").reduce(self) { $0[String($1)] }
    }

    /// The word that Go's JSON decoder uses for it in its errors.
    var typeName: String {
        switch self {
        case .null: "null"
        case .bool: "bool"
        case .integer, .number: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int) { self = .integer(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSON...) { self = .array(elements) }
    public init(nilLiteral: ()) { self = .null }

    /// Members that are `null` are left out.
    public init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(.init(elements.filter { $0.1 != .null }) { _, last in last })
    }

    public init(_ values: [String]) { self = .array(values.map(JSON.string)) }
    public init(_ value: String?) { self = value.map(JSON.string) ?? .null }
    public init(_ values: [String: String]) { self = .object(values.mapValues(JSON.string)) }
}
