/// `intstr.IntOrString`: a port by number, or by the name that each pod's container gives one.
public enum IntOrString: Sendable, Hashable, CustomStringConvertible {
    case number(Int)
    case name(String)

    /// Nil for null.
    init?(from reader: inout JSONReader) throws {
        if reader.nextIsString {
            guard let name = try reader.string() else { return nil }
            self = .name(name)
        } else {
            guard let number = try reader.integer() else { return nil }
            self = .number(number)
        }
    }

    public var description: String {
        switch self {
        case .number(let number): String(number)
        case .name(let name): name
        }
    }
}
